"""Operations: what a protocol wants sent, written without saying how it is sent.

An operation is a generator. It yields a :class:`Call` and is sent the :class:`Reply`, or yields a
:class:`Sleep` and is sent nothing; its return value is the result. A driver in
:mod:`opensandbox_jupyter.transport` runs it; a test runs it by hand.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import IOBase
from typing import Any, TypeVar

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.secrecy import Unpicklable, without_credentials

__all__ = ["Call", "Effect", "Feed", "Operation", "Origin", "Part", "Probe", "Reply", "Sleep"]

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class Origin(Unpicklable):
    """Where requests go: ``base_url`` without a trailing slash, and the headers that it wants.

    ``is_sandbox`` tells one sandbox's daemon from the lifecycle server, for messages of errors.
    ``is_foreign`` is where a redirect led, away from both: no header of ours goes there.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_sandbox: bool = False
    is_foreign: bool = False

    def __repr__(self) -> str:
        return f"Origin({self.place!r})"

    @property
    def place(self) -> str:
        """The address as it may be shown."""
        return without_credentials(self.base_url)


@dataclass(frozen=True, slots=True)
class Feed:
    """Content that is made while it is sent, once. ``size`` in bytes, ``None`` when not known."""

    chunks: Iterable[bytes] | AsyncIterable[bytes]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart upload."""

    name: str
    filename: str
    content: bytes | IOBase | Feed
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. ``name`` is the operation's name, for messages of errors."""

    name: str
    origin: Origin
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: bytes | None = field(default=None, repr=False)
    parts: Sequence[Part] | None = field(default=None, repr=False)
    patience: float | None = None
    """Seconds until a streamed answer must begin; ``None`` waits."""
    once: bool = False
    """Whether who asks will ask again by himself, so that nobody else need to."""

    @property
    def replayable(self) -> bool:
        """Whether it can be sent twice."""
        return self.parts is None or all(isinstance(p.content, bytes) for p in self.parts)

    def __post_init__(self) -> None:
        for name, value in self.query:
            if not value.isascii() and _SURROGATE.search(value):
                raise InvalidArgumentException(
                    f"{name} must be Unicode, without lone surrogates, not {value!r}."
                )


@dataclass(frozen=True, slots=True)
class Reply:
    """The whole answer to a call. Header names are lower-case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the caller's own health check; the answer is a bool."""


Effect = Call | Sleep | Probe
Operation = Generator[Effect, Any, T]
