r"""Patterns of files: ``*``, ``?``, ``[a-z]``, ``[!a-z]``, ``{a,b}``, ``**``; ``\`` quotes."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from opensandbox_jupyter.execd.errors import Refusal

__all__ = ["Glob"]

_LONGEST = 1024
_MOST = 256
_PIECE = re.compile(r"\\.|\[[!^]?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_Part = Callable[[str], object]


class Glob:
    """A compiled pattern.

    A pattern without ``/`` is that of a name, one with ``/`` that of a path from the root of the
    search; ``by_path`` says which. One that starts with ``!`` matches what the rest does not.

    Raises:
        Refusal: 400 when it cannot be read.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LONGEST:
            raise Refusal(400, "INVALID_REQUEST_BODY", "The pattern is too long.")
        self._inverted = pattern.startswith("!")
        rest = pattern[1:] if self._inverted else pattern
        self.by_path = "/" in rest
        self._choices = [_parts(text) for text in _braces(rest.removeprefix("./").lstrip("/"))]

    def matches(self, subject: str) -> bool:
        """Whether a name, or a path without a slash at its start, is one of those meant."""
        names = subject.split("/")
        return any(_match(choice, names) for choice in self._choices) != self._inverted


def _braces(pattern: str) -> list[str]:
    """Return the patterns that one with ``{a,b}`` stands for."""
    done = [""]
    stack: list[tuple[list[str], list[str]]] = []
    for piece in _PIECE.findall(pattern):
        if piece == "{":
            stack.append((done, []))
            done = [""]
        elif piece == "," and stack:
            stack[-1][1].extend(done)
            done = [""]
        elif piece == "}" and stack:
            before, choices = stack.pop()
            choices.extend(done)
            if len(before) * len(choices) > _MOST:
                raise Refusal(400, "INVALID_REQUEST_BODY", "The pattern has too many choices.")
            done = [head + tail for head in before for tail in choices]
        else:
            done = [text + piece for text in done]
    if stack:
        raise Refusal(400, "INVALID_REQUEST_BODY", "The pattern has a brace that is not closed.")
    return done


def _parts(pattern: str) -> list[_Part | None]:
    """Return one matcher for each name of a path, ``None`` for any number of names."""
    return [None if part == "**" else _name(part) for part in pattern.split("/")]


def _name(part: str) -> _Part:
    pieces = (_plain(piece) for piece in _PIECE.findall(part))
    try:
        return re.compile(fnmatch.translate("".join(pieces))).match
    except re.error:
        raise Refusal(400, "INVALID_REQUEST_BODY", f"{part} is not a pattern.") from None


def _plain(piece: str) -> str:
    """Return ``piece`` as the standard library writes it."""
    if piece.startswith("\\") and len(piece) == 2:
        return f"[{piece[1]}]" if piece[1] in "*?[" else piece[1]
    return f"[!{piece[2:]}" if piece.startswith("[^") else piece


def _match(parts: Sequence[_Part | None], names: Sequence[str]) -> bool:
    """Match from left to right; on a mismatch, let the last ``**`` take one name more."""
    part = name = 0
    retry: tuple[int, int] | None = None
    while name < len(names):
        current = parts[part] if part < len(parts) else _never
        if current is None:
            retry = (part, name)
            part += 1
        elif current(names[name]):
            part, name = part + 1, name + 1
        elif retry is not None:
            retry = (retry[0], retry[1] + 1)
            part, name = retry[0] + 1, retry[1]
        else:
            return False
    return all(rest is None for rest in parts[part:])


def _never(_: str) -> bool:
    return False
