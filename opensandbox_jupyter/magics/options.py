"""The line of a magic, taken apart: options first, then the command or the arguments as typed.

Nothing is expanded. Errors are one sentence with a hint, and never end the process.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = [
    "HelpWanted",
    "Parser",
    "duration",
    "environment",
    "key_value",
    "line_range",
    "nearest",
    "read_env_file",
]

_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class HelpWanted(Exception):
    """``-h`` stood on the line; the text is its answer."""


class Parser(argparse.ArgumentParser):
    """A parser of one magic or verb.

    Args:
        prog: how it is called, for example ``%sandbox create``.
        description: one sentence on what it does.
        epilog: examples, shown as they are.
    """

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        plain: dict[str, Any] = {"color": False} if sys.version_info >= (3, 14) else {}
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
            **plain,
        )
        self.flags: dict[str, argparse.Action] = {}
        self.option("-h", "--help", action="store_true", help="show this help")

    def option(self, *names: str, **settings: Any) -> None:
        """Add an option; arguments are those of ``add_argument``."""
        action = self.add_argument(*names, **settings)
        self.flags.update(dict.fromkeys(action.option_strings, action))

    def parse_line(self, line: str) -> argparse.Namespace:
        """Parse a line whose every word is an option or an argument.

        Raises:
            InvalidArgumentException: when it cannot be understood.
            HelpWanted: when it asks for help.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            self.error(str(error))
        return self._parse(words)

    def parse_front(self, line: str) -> tuple[argparse.Namespace, str]:
        """Parse the options at the front of a line; return the rest of it as it was typed.

        Raises:
            InvalidArgumentException: when an option cannot be understood.
            HelpWanted: when it asks for help.
        """
        words, rest = self._split_front(line)
        return self._parse(words), rest

    def error(self, message: str) -> NoReturn:
        """Refuse the line."""
        message = message.removeprefix("argument ").rstrip(".")
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise InvalidArgumentException(
            f"{self.prog}: {message}" + "." * (not message.endswith("?")),
            hint=f"Usage: {usage}  ({self.prog} -h explains.)",
        )

    def _parse(self, words: Sequence[str]) -> argparse.Namespace:
        front = words[: words.index("--")] if "--" in words else words
        if "-h" in front or "--help" in front:
            raise HelpWanted(self.format_help())
        for word in front:
            self._check(word)
        try:
            return self.parse_intermixed_args(words)
        except argparse.ArgumentError as error:
            self.error(str(error))

    def _check(self, word: str) -> None:
        name = word.split("=", 1)[0]
        if name.startswith("-") and _looks_like_option(name) and name not in self.flags:
            near = nearest(name, self.flags)
            self.error(f"there is no option {name}" + (f"; did you mean {near}?" if near else ""))

    def _split_front(self, line: str) -> tuple[list[str], str]:
        stream = io.StringIO(line)
        lexer = shlex.shlex(stream, posix=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        rest, wants_value = 0, False
        while True:
            try:
                word = lexer.get_token()
            except ValueError as error:
                if wants_value or line[rest:].lstrip().startswith("-"):
                    self.error(str(error))
                return words, line[rest:].strip()
            if word is None:
                return words, ""
            if not wants_value and (word == "--" or not _looks_like_option(word)):
                end = stream.tell() if word == "--" else rest
                return words, line[end:].strip()
            words.append(word)
            action = self.flags.get(word)
            wants_value = not wants_value and action is not None and action.nargs != 0
            rest = stream.tell()


def _looks_like_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit()


def nearest(word: str, known: Sequence[str] | dict[str, Any]) -> str | None:
    """Return the known word that ``word`` was probably meant to be."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def duration(text: str) -> timedelta:
    """Read ``90``, ``30s``, ``10m``, ``2h``, ``500ms``, ``1d``. For argparse."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2] or ""] if match else 0.0
    if not 0 < seconds <= timedelta(days=3650).total_seconds():
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90, 30s, 10m or 2h")
    return timedelta(seconds=seconds)


def key_value(text: str) -> tuple[str, str]:
    """Read ``KEY=VALUE``. For argparse."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def environment(text: str) -> tuple[str, str]:
    """Read ``KEY=VALUE``; a ``KEY`` alone takes the kernel's own value. For argparse."""
    key, equals, value = text.partition("=")
    if not _NAME.fullmatch(key):
        raise argparse.ArgumentTypeError(f"{key!r} is not a variable's name")
    if equals:
        return key, value
    if key not in os.environ:
        raise argparse.ArgumentTypeError(f"the kernel has no variable {key} to take over")
    return key, os.environ[key]


def line_range(text: str) -> tuple[int, int | None]:
    """Read ``A:B``, ``A:`` or ``:B``, lines counted from 1. For argparse."""
    match = re.fullmatch(r"(\d{0,15}):(\d{0,15})", text)
    first = int(match[1] or 1) if match else 0
    last = int(match[2]) if match and match[2] else None
    if first < 1 or (last is not None and last < first):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of lines such as 100:200")
    return first, last


def read_env_file(path: str) -> dict[str, str]:
    """Read ``KEY=VALUE`` lines; blank lines, ``#`` comments, ``export`` and quotes are understood.

    Raises:
        InvalidArgumentException: when the file or one of its lines cannot be read.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise InvalidArgumentException(f"{path} cannot be read: {cause}", cause=cause) from cause
    values = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        value = value.strip()
        if not equals or not _NAME.fullmatch(key.strip()):
            raise InvalidArgumentException(f"Line {number} of {path} is not KEY=VALUE.")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[key.strip()] = value
    return values
