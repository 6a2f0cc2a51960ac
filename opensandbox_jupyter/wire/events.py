"""The event stream of execd: frames of JSON, decoded as the bytes come.

A frame is one JSON object followed by a blank line; servers that send ``data:`` before it
(server-sent events) are read too. Frames never contain a raw line feed, so the stream may be cut
at any line feed and decoded in blocks.
"""

from __future__ import annotations

from typing import Any, Optional

import msgspec

__all__ = ["Event", "EventDecoder"]

MAX_FRAME = 64 * 1024 * 1024
"""The longest frame that is read, in bytes."""


class Event(msgspec.Struct, gc=False):
    """One frame. ``type`` is empty for a bare error object that a server put into the stream.

    ``exact`` is our own: the daemon says that it sends output as it was printed.
    """

    type: str = ""
    text: str = ""
    timestamp: int = 0
    execution_time: int = 0
    execution_count: int = 0
    results: Optional[dict[str, Any]] = None  # noqa: UP045  # read at run time on 3.10
    error: Optional[dict[str, Any]] = None  # noqa: UP045
    code: str = ""
    message: str = ""
    exact: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether nothing of interest comes after this event."""
        return self.type in ("execution_complete", "error") or (not self.type and bool(self.code))


_lines = msgspec.json.Decoder(Event)


class EventDecoder:
    """Turns chunks of bytes, cut anywhere, into events. A frame that cannot be read is dropped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that ``chunk`` completes.

        Raises:
            ValueError: when a frame is longer than ``MAX_FRAME``.
        """
        end = chunk.rfind(b"\n")
        if end < 0:
            self._hold(chunk)
            return []
        block = b"".join([*self._rest, chunk[: end + 1]])
        self._rest, self._held = [], 0
        self._hold(chunk[end + 1 :])
        return _decode_block(block)

    def close(self) -> list[Event]:
        """Return the event of a last frame that no line feed ended, if there is one."""
        block, self._rest, self._held = b"".join(self._rest), [], 0
        return _decode_block(block)

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._held += len(piece)
        if self._held > MAX_FRAME:
            raise ValueError(f"a frame of the event stream is longer than {MAX_FRAME} bytes")


def _decode_block(block: bytes) -> list[Event]:
    try:
        return _lines.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [event for line in block.split(b"\n") if (event := _decode_line(line)) is not None]


def _decode_line(line: bytes) -> Event | None:
    """Decode one line with patience: ``data:`` prefixes, CR, comments, bytes that are not UTF-8."""
    line = line.strip()
    if line.startswith(b"data:"):
        line = line[5:].lstrip()
    if not line.startswith(b"{"):
        return None
    for candidate in (line, line.decode("utf-8", "replace").encode()):
        try:
            return _lines.decode(candidate)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None
