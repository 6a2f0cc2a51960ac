"""Reads the part of the Dockerfile language that an image can be built from here.

Everything is read, and everything that is not understood refused by its line, before anything is
done. Specified by Docker's Dockerfile reference; of it there are FROM (one), RUN, COPY, ENV,
WORKDIR, USER root, ENTRYPOINT, CMD, LABEL and EXPOSE. The last two change nothing here.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = ["Copy", "Dockerfile", "Env", "Run", "Workdir", "read_dockerfile"]

_HERE = re.compile(r"<<(-?)(['\"]?)(\w+)\2")
_NAME = re.compile(r"[A-Za-z_]\w*")
_MOST = 1 << 20


@dataclass(frozen=True)
class Run:
    """A command: a line for the shell, or words."""

    line: int
    command: str | list[str]


@dataclass(frozen=True)
class Copy:
    """Files of the build context, or one text that the file itself holds, to a place inside."""

    line: int
    sources: list[str]
    target: str
    text: str | None = None
    mode: int | None = None


@dataclass(frozen=True)
class Env:
    """A variable of all that follows, and of the image."""

    line: int
    name: str
    value: str


@dataclass(frozen=True)
class Workdir:
    """Where all that follows works; made when it is not there."""

    line: int
    path: str


@dataclass
class Dockerfile:
    """What a file asks for."""

    base: str = ""
    steps: list[Run | Copy | Env | Workdir] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


@dataclass
class _Line:
    number: int
    name: str
    rest: str
    texts: list[str]
    """Its here-documents."""


def read_dockerfile(text: str) -> Dockerfile:
    """Return what ``text`` asks for.

    Raises:
        InvalidArgumentException: a line is not understood; the message begins with its number.
    """
    if len(text) > _MOST:
        raise InvalidArgumentException("A Dockerfile of over 1 MiB is none.")
    found = Dockerfile()
    for line in _lines(text.splitlines()):
        if not found.base and line.name != "FROM":
            _refuse(line.number, "a Dockerfile begins with FROM")
        reader = _READERS.get(line.name)
        if reader is None:
            _refuse(line.number, f"{line.name[:32]} is not supported here")
        reader(line, found)
    if not found.base:
        raise InvalidArgumentException("line 1: a Dockerfile begins with FROM")
    return found


def _lines(raw: list[str]) -> Iterator[_Line]:
    at = 0
    while at < len(raw):
        number, text = at + 1, raw[at].strip()
        at += 1
        if not text or text.startswith("#"):
            continue
        while text.endswith("\\") and at < len(raw):
            following = raw[at].strip()
            at += 1
            if not following.startswith("#"):
                text = f"{text[:-1].rstrip()} {following}"
        name, _, rest = text.partition(" ")
        texts = []
        if name.upper() in {"RUN", "COPY"}:
            for dash, _, word in _HERE.findall(rest):
                body, at = _here(raw, at, word, number, strip=bool(dash))
                texts.append(body)
        yield _Line(number, name.upper(), rest.strip(), texts)


def _here(raw: list[str], at: int, word: str, number: int, *, strip: bool) -> tuple[str, int]:
    body: list[str] = []
    while at < len(raw):
        text = raw[at].lstrip("\t") if strip else raw[at]
        at += 1
        if text == word:
            return "".join(f"{one}\n" for one in body), at
        body.append(text)
    _refuse(number, f"the text up to {word} has no end")


def _from(line: _Line, found: Dockerfile) -> None:
    words = line.rest.split()
    if found.base:
        _refuse(line.number, "several stages are not supported here")
    if len(words) != 1 or words[0].startswith("--"):
        _refuse(line.number, "FROM takes the name of one image here, and nothing else")
    found.base = words[0]


def _run(line: _Line, found: Dockerfile) -> None:
    if line.rest.startswith("--"):
        _refuse(line.number, "options of RUN are not supported here")
    words = _words_of_json(line)
    if line.texts and _HERE.fullmatch(line.rest):
        command: str | list[str] = line.texts[0]
    elif line.texts:
        ends = [word for _, _, word in _HERE.findall(line.rest)]
        tails = [f"\n{text}{end}" for text, end in zip(line.texts, ends, strict=True)]
        command = line.rest + "".join(tails)
    else:
        command = words or line.rest
    if not command:
        _refuse(line.number, "RUN needs a command")
    found.steps.append(Run(line.number, command))


def _copy(line: _Line, found: Dockerfile) -> None:
    words, mode = _words_of_json(line) or _split(line), None
    while words and words[0].startswith("--"):
        option, _, value = words.pop(0).partition("=")
        if option == "--chmod" and re.fullmatch(r"[0-7]{3,4}", value):
            mode = int(value[-3:])
        elif option != "--chown":
            _refuse(line.number, f"the option {option} of COPY is not supported here")
    if len(words) < 2:
        _refuse(line.number, "COPY needs what to copy and where to")
    *sources, target = words
    if not line.texts:
        found.steps.append(Copy(line.number, sources, target, mode=mode))
    elif len(sources) == len(line.texts) == 1:
        found.steps.append(Copy(line.number, [], target, line.texts[0], mode))
    else:
        _refuse(line.number, "COPY takes one text at a time here")


def _env(line: _Line, found: Dockerfile) -> None:
    words = _split(line)
    if words and "=" not in words[0]:
        words = [f"{words[0]}={' '.join(words[1:])}"]
    if not words:
        _refuse(line.number, "ENV needs NAME=VALUE")
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not _NAME.fullmatch(name):
            _refuse(line.number, f"{word[:32]!r} is not NAME=VALUE")
        found.steps.append(Env(line.number, name, value))


def _workdir(line: _Line, found: Dockerfile) -> None:
    if not line.rest:
        _refuse(line.number, "WORKDIR needs a path")
    found.steps.append(Workdir(line.number, line.rest))


def _user(line: _Line, _: Dockerfile) -> None:
    if line.rest.partition(":")[0] not in {"root", "0"}:
        _refuse(line.number, "there is no user but root in a sandbox")


def _entrypoint(line: _Line, found: Dockerfile) -> None:
    found.entrypoint = _program(line)


def _cmd(line: _Line, found: Dockerfile) -> None:
    found.command = _program(line)


def _nothing(_: _Line, __: Dockerfile) -> None:
    """Say nothing about what makes no difference here."""


_READERS = {
    "FROM": _from, "RUN": _run, "COPY": _copy, "ENV": _env, "WORKDIR": _workdir, "USER": _user,
    "ENTRYPOINT": _entrypoint, "CMD": _cmd, "LABEL": _nothing, "EXPOSE": _nothing,
}  # fmt: skip


def _program(line: _Line) -> list[str]:
    if not line.rest:
        _refuse(line.number, f"{line.name} needs a program")
    return _words_of_json(line) or ["/bin/sh", "-c", line.rest]


def _words_of_json(line: _Line) -> list[str]:
    if not line.rest.startswith("["):
        return []
    try:
        words = json.loads(line.rest)
    except ValueError:
        return []  # a shell's own bracket
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        _refuse(line.number, "the words must be strings")
    return words


def _split(line: _Line) -> list[str]:
    try:
        return shlex.split(line.rest)
    except ValueError as error:
        _refuse(line.number, str(error))


def _refuse(number: int, reason: str) -> NoReturn:
    raise InvalidArgumentException(f"line {number}: {reason}")
