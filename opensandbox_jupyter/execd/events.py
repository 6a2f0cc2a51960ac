"""The events of a stream, as bytes: one bare JSON object each, then an empty line."""

from __future__ import annotations

import codecs
import time
from collections.abc import Mapping

import msgspec

__all__ = ["Encoder", "complete", "counted", "failed", "init", "now_ms", "ping", "result"]

CHUNK = 64 * 1024
"""The most text in one event, in characters."""

_json = msgspec.json.Encoder()
# In UTF-8 these bytes can only be the characters that some readers take for the end of a line.
_BREAKS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _event(kind: str, **fields: object) -> bytes:
    return _one_line(_json.encode({"type": kind, **fields, "timestamp": now_ms()})) + b"\n\n"


def _one_line(data: bytes) -> bytes:
    if data.isascii():
        return data
    for raw, escaped in _BREAKS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def init(execution_id: str) -> bytes:
    """Return the first event: it names the execution, and says that line ends will be kept."""
    return _event("init", text=execution_id, exact=True)


def ping() -> bytes:
    """Return a sign of life."""
    return _event("ping", text="pong")


def complete(milliseconds: int | None = None) -> bytes:
    """Return the last event of a success."""
    took = {} if milliseconds is None else {"execution_time": milliseconds}
    return _event("execution_complete", **took)


def counted(number: int) -> bytes:
    """Return the event that numbers a run of code."""
    return _event("execution_count", execution_count=number)


def result(data: Mapping[str, object]) -> bytes:
    """Return the event of a value that was shown, by MIME type."""
    return _event("result", results=data)


def failed(value: str, traceback: list[str], name: str = "CommandExecError") -> bytes:
    """Return the last event of a failure; ``value`` is the exit code as text, or a message."""
    return _event("error", error={"ename": name, "evalue": value, "traceback": traceback})


class Encoder:
    """Turns the bytes of one stream into its events.

    Args:
        stream: ``stdout`` or ``stderr``.
        lines: one event a line, or else events of up to 64 Ki characters.

    Text that waits to become an event is in ``held``: the start of a line, or of a chunk. A chunk
    ends where a line does, but for a line that fills one, and for what was held long enough.
    """

    __slots__ = ("_decoder", "_lines", "_stream", "held")

    def __init__(self, stream: str, *, lines: bool) -> None:
        self._stream = stream.encode()
        self._lines = lines
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def feed(self, data: bytes) -> bytes:
        """Return the events that ``data`` completes."""
        text = self.held + self._decoder.decode(data)
        cut = text.rfind("\n") + 1 if self._lines or len(text) >= CHUNK else 0
        self.held = text[cut:]
        out = self._encode(text[:cut]) if cut else b""
        return out + self.flush() if len(self.held) >= CHUNK else out

    def flush(self, *, final: bool = False) -> bytes:
        """Return what is held, as events; ``final`` also gives up on half a character."""
        text, self.held = self.held, ""
        if final:
            text += self._decoder.decode(b"", final=True)
        return self._chunks(text) if text else b""

    @property
    def has_lines(self) -> bool:
        """Whether whole lines are held, as they are where an event may have many."""
        return "\n" in self.held

    def flush_lines(self) -> bytes:
        """Return the whole lines that are held, as events, and hold the rest."""
        cut = self.held.rfind("\n") + 1
        text, self.held = self.held[:cut], self.held[cut:]
        return self._chunks(text)

    def _encode(self, text: str) -> bytes:
        if not self._lines:
            return self._chunks(text)
        # No encoded string holds a newline, so the one between two of them is safe to replace.
        head, tail = self._frame()
        body = _json.encode_lines(text[:-1].split("\n"))
        joined = body[:-2].replace(b'"\n"', b"\\n" + tail + head)
        return head[:-1] + _one_line(joined) + b"\\n" + tail

    def _chunks(self, text: str) -> bytes:
        head, tail = self._frame()
        pieces = [text] if len(text) <= CHUNK else _cut(text)
        return b"".join(head + _one_line(_json.encode(piece))[1:-1] + tail for piece in pieces)

    def _frame(self) -> tuple[bytes, bytes]:
        head = b'{"type":"%b","text":"' % self._stream
        return head, b'","timestamp":%d}\n\n' % now_ms()


def _cut(text: str) -> list[str]:
    """Return pieces that end where lines do, if they can."""
    pieces, at = [], 0
    while len(text) - at > CHUNK:
        end = text.rfind("\n", at, at + CHUNK) + 1 or at + CHUNK
        pieces.append(text[at:end])
        at = end
    return [*pieces, text[at:]]
