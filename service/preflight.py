"""Loads the models as the service would and says what keeps it from starting: ``python -m service.preflight``.

BentoML's supervisor starts a worker again whenever it ends, so a worker that cannot start would be started for ever.
This runs once, before any worker, in a process of its own: what it takes of a GPU's memory goes with it. It does not
warm the models, as every worker does for itself.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from models.errors import ModelError
from service.audit import check_audit
from service.catalogue import Catalogue, NoModelError
from service.config import SettingsError, load_settings
from service.gate import make_gate
from service.grpc.extra import check_grpc
from service.metrics import Metrics
from service.providers import ProviderError
from service.server import check_certificate
from service.state import StateError
from service.trace import check_traces


def run_preflight() -> None:
    """Run this module in a process of its own.

    Raises:
        SystemExit: the service could not start; the reason is on standard error.
    """
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    finished = subprocess.run(
        [sys.executable, "-m", "service.preflight"], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    if finished.returncode != 0:
        raise SystemExit(finished.returncode)


def main() -> None:
    """Load everything, or end with a message and exit status 1."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        settings = load_settings()
        make_gate(settings)
        check_certificate(settings)
        check_traces()
        check_grpc(settings)
        check_audit(settings)
        catalogue = Catalogue(settings, Metrics(), is_rehearsal=True)
        catalogue.load()
    except (SettingsError, NoModelError, ProviderError, ModelError, StateError) as error:
        raise SystemExit(f"modelyard cannot start: {error}") from error
    catalogue.close()


if __name__ == "__main__":
    main()
