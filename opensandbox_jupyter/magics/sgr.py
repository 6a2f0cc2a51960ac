"""Colours and weights of text: the state that SGR sequences switch, as one canonical code."""

from __future__ import annotations

__all__ = ["Paint", "painted"]

_FLAGS = {1: "1", 2: "2", 3: "3", 4: "4", 7: "7", 9: "9", 21: "4"}
_UNFLAGS = {22: ("1", "2"), 23: ("3",), 24: ("4",), 27: ("7",), 29: ("9",)}
_MAX_PARAMETERS = 32


class Paint:
    """The colours and flags in force. Blinking and concealed text do not exist here.

    Args:
        default: the code of text that the program did not colour, for example ``"31"``.
    """

    def __init__(self, default: str = "") -> None:
        self._default = default
        self._foreground = self._background = ""
        self._flags: tuple[str, ...] = ()
        self.code = default

    def reset(self) -> None:
        """Go back to uncoloured text."""
        self._foreground = self._background = ""
        self._flags = ()
        self.code = self._default

    def apply(self, parameters: str) -> None:
        """Take in what stands between ``ESC [`` and ``m``."""
        fields = parameters.split(";")[:_MAX_PARAMETERS]
        while fields:
            head = fields.pop(0)
            sub = head.split(":")
            number = int(sub[0][:4]) if sub[0].isdigit() else 0
            if number in (38, 48):
                colour = _extended(sub[1:]) if len(sub) > 1 else _extended_fields(fields)
                self._colour(number, colour)
            elif number == 4 and sub[1:] == ["0"]:
                self._switch(24)
            else:
                self._switch(number)
        foreground = self._foreground
        if not foreground and not self._background and "7" not in self._flags:
            foreground = self._default
        self.code = ";".join(c for c in (*self._flags, foreground, self._background) if c)

    def _colour(self, number: int, colour: str) -> None:
        if colour and number == 38:
            self._foreground = f"38;{colour}"
        elif colour:
            self._background = f"48;{colour}"

    def _switch(self, number: int) -> None:
        if number == 0:
            self.reset()
        elif number in _FLAGS:
            self._flags = tuple(sorted({*self._flags, _FLAGS[number]}))
        elif number in _UNFLAGS:
            self._flags = tuple(f for f in self._flags if f not in _UNFLAGS[number])
        elif 30 <= number <= 37 or 90 <= number <= 97:
            self._foreground = str(number)
        elif 40 <= number <= 47 or 100 <= number <= 107:
            self._background = str(number)
        elif number == 39:
            self._foreground = ""
        elif number == 49:
            self._background = ""


def _extended_fields(fields: list[str]) -> str:
    """Take ``5;N`` or ``2;R;G;B`` off the front of ``fields``."""
    count = {"5": 2, "2": 4}.get(fields[0] if fields else "", 0)
    taken = fields[:count]
    del fields[:count]
    return _extended(taken)


def _extended(parts: list[str]) -> str:
    """Return ``5;N`` or ``2;R;G;B``; nothing when it is neither."""
    if parts and parts[0] == "2" and len(parts) > 4:
        parts = [parts[0], *parts[-3:]]  # 2:<colour space>:r:g:b
    numbers = [int(p) for p in parts if p.isdigit() and len(p) <= 3]
    if len(numbers) != len(parts) or any(n > 255 for n in numbers):
        return ""
    if (len(numbers), *numbers[:1]) in ((2, 5), (4, 2)):
        return ";".join(str(n) for n in numbers)
    return ""


def painted(code: str, text: str) -> str:
    """Return ``text`` in the colours of ``code``, closed again, so that it can stand anywhere."""
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text
