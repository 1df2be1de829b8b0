"""An answer that is sent while it is made."""

from collections.abc import AsyncIterator

from service.exchange import Answer, Chunks


class Stream(AsyncIterator[bytes]):
    """The chunks of an answer, the first of which has been made."""

    def __init__(self, answer: Answer, first: bytes, rest: Chunks) -> None:
        self.answer = answer
        self._first: bytes | None = first
        self._rest = rest

    @classmethod
    async def begin(cls, answer: Answer, chunks: Chunks) -> "Stream":
        """Make the first of an answer's chunks: what goes wrong until then can still be answered as a problem."""
        return cls(answer, await anext(chunks, b""), chunks)

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Make no more."""
        await self._rest.aclose()
