"""The latest output of a terminal, by its offset from the start of all output."""

from __future__ import annotations

__all__ = ["LIMIT", "Ring"]

LIMIT = 1024 * 1024
_SLACK = 256 * 1024


class Ring:
    """Keeps the last 1 MiB.

    Attributes:
        end: how many bytes there ever were.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.end = 0

    def add(self, data: bytes) -> None:
        """Append ``data`` and forget what is too old."""
        self._data += data
        self.end += len(data)
        if len(self._data) > LIMIT + _SLACK:
            del self._data[:-LIMIT]

    def since(self, offset: int) -> tuple[int, bytes]:
        """Return what is kept from ``offset`` on, and the offset of its first byte."""
        kept = min(len(self._data), LIMIT, max(0, self.end - offset))
        return self.end - kept, bytes(self._data[len(self._data) - kept :])
