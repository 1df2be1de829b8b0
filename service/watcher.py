"""Looks at the folder of models and at the state, again and again, while the service runs."""

import asyncio

from service.catalogue import Catalogue


async def watch(catalogue: Catalogue, seconds: float) -> None:
    """Have ``catalogue`` take over what has changed, ``seconds`` after each look; ends by being cancelled."""
    while True:
        # At once after the start too: what is not needed to be ready is loaded now.
        await catalogue.run(catalogue.look)
        await asyncio.sleep(seconds)
