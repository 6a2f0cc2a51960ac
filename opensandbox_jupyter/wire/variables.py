"""How a variable of all later commands is set: by a line in the file that ``EXECD_ENVS`` names."""

from __future__ import annotations

import re
import shlex

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = ["remember"]

_PLAIN = re.compile(r"[\w./:@%+,=-]*", re.ASCII)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def remember(key: str, value: str) -> str:
    """Return the shell command that sets ``key`` to ``value`` for every later command.

    Raises:
        InvalidArgumentException: when ``key`` is no name, or ``value`` holds a NUL.
    """
    if not _KEY.fullmatch(key):
        raise InvalidArgumentException(
            f"{key[:64]!r} is no name of a variable: use letters, digits and _."
        )
    if "\0" in value:
        raise InvalidArgumentException("The value of a variable cannot hold a NUL character.")
    if _PLAIN.fullmatch(value):
        quoted = value  # daemons before 1.1 take quotes for a part of the value
    elif "'" in value:
        quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        quoted = f"'{value}'"
    line = shlex.quote(f"{key}={quoted}")
    return f'printf "%s\\n" {line} >> "${{EXECD_ENVS:?the sandbox keeps no variables}}"'
