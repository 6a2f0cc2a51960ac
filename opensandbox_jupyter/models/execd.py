"""Nouns of execd's command API: options, events, and what a finished command leaves behind.

Names are those of OpenSandbox's own SDK. Events live in
:mod:`opensandbox_jupyter.models.execution`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from opensandbox_jupyter.models._base import Model, Request
from opensandbox_jupyter.models.dumping import Dumped
from opensandbox_jupyter.models.durations import duration
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionHandlers,
    ExecutionInit,
    ExecutionLogs,
    ExecutionResult,
    OutputMessage,
)

__all__ = [
    "CommandLogs",
    "CommandStatus",
    "Execution",
    "ExecutionComplete",
    "ExecutionError",
    "ExecutionHandlers",
    "ExecutionInit",
    "ExecutionLogs",
    "ExecutionResult",
    "OutputMessage",
    "RunCommandOpts",
]

_Id = Annotated[int, Field(ge=0, le=2**32 - 1)]


class RunCommandOpts(Request):
    """How to run a command.

    ``timeout``, in seconds or a timedelta, bounds the command itself (it is killed); ``envs`` are
    added to its environment; ``background`` returns at once, with the id to ask for later.
    """

    background: bool = False
    working_directory: str | None = None
    timeout: Annotated[timedelta, BeforeValidator(duration)] | None = None
    uid: _Id | None = None
    gid: _Id | None = None
    envs: dict[str, str] | None = Field(default=None, repr=False)


class CommandStatus(Model):
    """How a command fares. ``exit_code`` is there once it has ended. Times are UTC."""

    id: str | None = None
    content: str | None = None
    running: bool | None = None
    exit_code: int | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(slots=True)
class CommandLogs(Dumped):
    """Output of a background command from a cursor on; ``cursor`` is where to go on (bytes)."""

    content: str
    cursor: int | None = None
