"""How much may be sent to the front end: messages and bytes per second, with room for a burst."""

from __future__ import annotations

import time

__all__ = ["Bucket"]

_MESSAGES = 20.0
_BYTES = 300_000.0
_BURST_SECONDS = 2.0


class Bucket:
    """A token bucket for one view. It may go into debt for what must be sent."""

    def __init__(self) -> None:
        self._messages = _MESSAGES
        self._bytes = _BYTES * _BURST_SECONDS
        self._filled = time.monotonic()

    def ready(self) -> bool:
        """Whether another message may go out now."""
        now = time.monotonic()
        span, self._filled = now - self._filled, now
        self._messages = min(self._messages + span * _MESSAGES, _MESSAGES)
        self._bytes = min(self._bytes + span * _BYTES, _BYTES * _BURST_SECONDS)
        return self._messages >= 1 and self._bytes > 0

    def spend(self, text: str) -> None:
        """Take note of a message that was sent."""
        self._messages -= 1
        self._bytes -= len(text)
