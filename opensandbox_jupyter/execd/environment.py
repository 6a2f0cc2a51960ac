"""The environment of commands: the base, then the sandbox's file of variables, then the request."""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import Mapping

from opensandbox_jupyter.execd.errors import bad_request

__all__ = ["command_env", "expand", "parse_env_file"]

_LIMIT = 1024 * 1024
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_WORD = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|((?:[^'\"\\\n]|\\.)+)", re.DOTALL)
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def command_env(
    base: Mapping[str, str], env_file: str | None, extra: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the environment of a command; later layers win.

    Raises:
        Refusal: 400 when a name or value of ``extra`` cannot be in an environment.
    """
    env = dict(base)
    if env_file:
        env.update(parse_env_file(_read(env_file), env))
    for name, value in (extra or {}).items():
        if not name or "=" in name or "\0" in name + value:
            raise bad_request(f"{name!r} cannot be an environment variable.")
        env[name] = value
    return env


def _read(path: str) -> str:
    """Return the start of a regular file, or nothing: the file belongs to the sandbox's user."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        return os.read(fd, _LIMIT).decode("utf-8", "replace").replace("\0", "")
    except OSError:
        return ""
    finally:
        os.close(fd)


def parse_env_file(text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the assignments in ``text``: ``KEY=VALUE`` lines, comments, quotes, ``$`` expansion.

    Quoted values may span lines and be joined as in a shell. What cannot be read is skipped.
    """
    found: dict[str, str] = {}
    known = ChainMap(found, dict(env))
    at = 0
    while at < len(text):
        match = _ASSIGNMENT.match(text, at)
        if match is None:
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline + 1
            continue
        value, at = _value(text, match.end(), known)
        found[match[1]] = value
    return found


def _value(text: str, at: int, env: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that starts at ``at``, and where the next line starts."""
    parts: list[str] = []
    end = len(text)
    while at < end and text[at] != "\n":
        match = _WORD.match(text, at)
        if match is None:
            parts.append(text[at])  # a quote that is never closed is a character
            at += 1
            continue
        at = match.end()
        single, double, bare = match.groups()
        if single is not None:
            parts.append(single)
        elif double is not None:
            parts.append(_expanded(double, env))
        else:
            kept = _COMMENT.sub("", bare)
            if kept != bare:
                newline = text.find("\n", at)
                at = end if newline < 0 else newline
            last = at >= end or text[at] == "\n"
            parts.append(_expanded(kept.rstrip() if last else kept, env))
    return "".join(parts), at + 1


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` with variables put in and escapes undone; an unknown variable is empty."""
    pieces = re.split(r"(\\.)", text, flags=re.DOTALL)
    for index, piece in enumerate(pieces):
        if index % 2:
            pieces[index] = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), piece)
        else:
            pieces[index] = _VARIABLE.sub(lambda m: env.get(m[1] or m[2], ""), piece)
    return "".join(pieces)


def expand(path: str, env: Mapping[str, str], *, strict: bool = False) -> str:
    """Return ``path`` with a leading ``~`` and ``$VAR`` or ``${VAR}`` expanded.

    An unknown variable stays as it is written, or is refused when ``strict``.

    Raises:
        Refusal: 400 for an unknown variable.
    """
    if path == "~" or path.startswith("~/"):
        path = env.get("HOME", "/") + path[1:]

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if strict and name not in env:
            raise bad_request(f"{path}: the variable {name} is not set.")
        return env.get(name, match[0])

    return _VARIABLE.sub(value, path)
