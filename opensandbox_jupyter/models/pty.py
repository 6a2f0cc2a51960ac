"""Nouns of terminals."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PtyEvent", "PtyExit", "PtyOutput", "PtyProblem", "PtyStatus"]


@dataclass(frozen=True, slots=True)
class PtyStatus:
    """How a terminal fares: ``output_offset`` is how many bytes it has ever printed."""

    session_id: str
    running: bool
    output_offset: int


@dataclass(frozen=True, slots=True)
class PtyOutput:
    """A piece of output: ``offset`` is where it begins among all bytes ever printed.

    ``is_error`` is true for error output of a session on pipes; a terminal has only one stream.
    """

    data: bytes
    offset: int | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class PtyExit:
    """The program has ended."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class PtyProblem:
    """The daemon could not do something: ``code`` for programs, ``message`` for people."""

    code: str
    message: str


PtyEvent = PtyOutput | PtyExit | PtyProblem
