"""What a program prints, as tokens that are safe to draw.

Kept are text, colours (SGR) and the few movements that progress bars are made of. Everything else
that a terminal would obey (clipboard, titles, queries, modes, device strings) is dropped, and
characters that hide or reorder text are made visible. Chunks may be cut anywhere.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from opensandbox_jupyter.magics.sgr import Paint

__all__ = ["Cleaner", "Move", "Text", "Token", "visible"]


class Text(NamedTuple):
    """Text to draw with the SGR code ``style`` (empty: none); of controls only LF and TAB."""

    text: str
    style: str


class Move(NamedTuple):
    """A movement or an erasure: ``name`` is its control character or the final letter of a CSI."""

    name: str
    numbers: tuple[int, ...] = ()


Token = Text | Move

_INVISIBLE = (
    "\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff9-\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff"
)
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_SPECIAL = re.compile(f"[{_CONTROL}{_INVISIBLE}]")
_SHOWN = re.compile(f"[\x00-\x06\x10-\x17\x19\x1c-\x1f\x7f-\x8f\x91-\x97\x99\x9a{_INVISIBLE}]+")
_HOSTILE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_INVISIBLE}]")

_CSI = re.compile(r"(?:\x1b\[|\x9b)([0-?]{0,256})([ -/]{0,8})([@-~])")
_CSI_PART = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,256}[ -/]{0,8}\Z")
_ESCAPE = re.compile(r"\x1b[ -/]{0,8}[0-~]")
_ESCAPE_PART = re.compile(r"\x1b[ -/]{0,8}\Z")
_STRING = re.compile(r"\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]")
_STRING_END = re.compile(r"\x1b\\?|[\x07\x9c\x18\x1a]")
_OSC_END = re.compile(r"\x1b\\?|[\x07\x9c\x18\x1a\n]")

_MOVES = frozenset("ABCDEFGHJKLMSTX`adefsu")
_ESCAPE_MOVES = {"\x1b7": "s", "\x1b8": "u", "\x1bM": "RI"}
_MAX_NUMBER = 9999
_MAX_KEPT = 4096
_MAX_SWALLOWED = 1 << 20
_LINK = re.compile(r"8;[^;]*;(.*)", re.DOTALL)
_SCHEMES = ("http://", "https://", "mailto:")


def visible(text: str) -> str:
    """Return ``text`` with controls, direction marks and invisible characters spelled out."""
    return _HOSTILE.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    return ascii(match.group())[1:-1]


class Cleaner:
    """Reads one output stream of a program.

    Args:
        default: the SGR code of text that the program left uncoloured.
    """

    def __init__(self, default: str = "") -> None:
        self._paint = Paint(default)
        self._held = ""
        self._string: str | None = None  # what a device string in progress holds so far
        self._string_end = _STRING_END
        self._swallowed = 0
        self._link = self._link_text = ""
        self._out: list[Token] = []

    def reset(self) -> None:
        """Forget everything in progress: output was skipped here."""
        self._paint.reset()
        self._held = self._link = self._link_text = ""
        self._string = None

    def feed(self, chunk: str) -> list[Token]:
        """Return the tokens of ``chunk``; an unfinished sequence waits for the next one."""
        text = self._held + chunk
        self._held, position = "", 0
        if "\r\n" in text:
            text = text.replace("\r\n", "\n")
        while position < len(text):
            position = self._step(text, position)
        out, self._out = self._out, []
        return out

    def close(self) -> list[Token]:
        """Return what was still to come when the output ends."""
        if self._held.startswith("\r"):
            self._out.append(Move("\r"))
        self._close_link()
        self.reset()
        out, self._out = self._out, []
        return out

    def _step(self, text: str, position: int) -> int:
        """Take in what stands at ``position``; return where to go on."""
        if self._string is not None:
            return self._in_string(text, position)
        special = _SPECIAL.search(text, position)
        end = special.start() if special else len(text)
        if end > position:
            self._text(text[position:end])
            return end
        char = text[position]
        if char in "\r\b":
            return self._carriage(text, position)
        if char in "\x0b\x0c":
            self._text("\n")
        elif char in "\x1b\x9b\x9d\x90\x98\x9e\x9f":
            return self._sequence(text, position)
        elif shown := _SHOWN.match(text, position):
            self._text(visible(shown.group()))
            return shown.end()
        return position + 1  # bell, shifts, string terminators without a string

    def _carriage(self, text: str, position: int) -> int:
        if text[position] == "\b":
            self._out.append(Move("\b"))
            return position + 1
        end = position
        while end < len(text) and text[end] == "\r":
            end += 1
        if end == len(text):
            self._held = "\r"
        elif text[end] != "\n":
            self._out.append(Move("\r"))
        return end

    def _sequence(self, text: str, position: int) -> int:
        csi = _CSI.match(text, position)
        if csi:
            self._control(*csi.groups())
            return csi.end()
        if _CSI_PART.match(text, position) or _ESCAPE_PART.match(text, position):
            self._held = text[position:]
            return len(text)
        string = _STRING.match(text, position)
        if string:
            self._string, self._swallowed = "", 0
            self._string_end = _OSC_END if string.group()[-1] in "]\x9d" else _STRING_END
            return string.end()
        escape = _ESCAPE.match(text, position)
        if escape:
            self._escape(escape.group())
            return escape.end()
        return position + 1

    def _control(self, parameters: str, between: str, final: str) -> None:
        if between or parameters.strip("0123456789;:"):
            return
        if final == "m":
            self._paint.apply(parameters)
        elif final in _MOVES:
            fields = parameters.split(";")[:2] if parameters else []
            numbers = (min(int(f[:9]), _MAX_NUMBER) if f.isdigit() else 0 for f in fields)
            self._out.append(Move(final, tuple(numbers)))

    def _escape(self, sequence: str) -> None:
        if sequence in _ESCAPE_MOVES:
            self._out.append(Move(_ESCAPE_MOVES[sequence]))
        elif sequence in ("\x1bD", "\x1bE"):
            self._text("\n")

    def _in_string(self, text: str, position: int) -> int:
        """Go through a device string: it is kept while short (it may be a link), never drawn."""
        assert self._string is not None
        end = self._string_end.search(text, position)
        stop = end.start() if end else len(text)
        if end and end.group() == "\x1b" and end.end() == len(text):
            self._held = "\x1b"  # the first half of its terminator, maybe
            end = None
        if len(self._string) <= _MAX_KEPT:
            self._string += text[position:stop][:_MAX_KEPT]
        self._swallowed += stop - position
        if end is None:
            if self._swallowed > _MAX_SWALLOWED:
                self._string = None
            return len(text)
        content, self._string = self._string, None
        if end.group() in ("\x07", "\x9c", "\x1b\\") and self._string_end is _OSC_END:
            self._device_string(content)
        keeps = end.group() in ("\x1b", "\n")  # it begins something else
        return end.start() if keeps else end.end()

    def _device_string(self, content: str) -> None:
        link = _LINK.fullmatch(content) if len(content) <= _MAX_KEPT else None
        if link:
            self._close_link()
            target = link.group(1)
            self._link = target if target.lower().startswith(_SCHEMES) else ""

    def _close_link(self) -> None:
        target, self._link = visible(self._link).replace("\n", " "), ""
        shown, self._link_text = self._link_text, ""
        if target and shown.strip() != target:
            self._out.append(Text(f" <{target}>", self._paint.code))

    def _text(self, text: str) -> None:
        if self._link:
            self._link_text = (self._link_text + text)[:_MAX_KEPT]
        self._out.append(Text(text, self._paint.code))
