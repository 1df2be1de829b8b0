"""The memory that bodies take while their requests are answered."""

from service.errors import OverloadedError

_RETRY_SECONDS = 1.0


class Intake:
    """Counts the bytes of all bodies that are being read or answered, and takes no more than its limit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count a body in, before it is read. Give it back once it is answered.

        Raises:
            OverloadedError: there is no room for it now.
        """
        if self._bytes + size_bytes > self._max_bytes:
            raise OverloadedError("over capacity: too many bodies are being read", retry_after_seconds=_RETRY_SECONDS)
        self._bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count a body out."""
        self._bytes -= size_bytes
