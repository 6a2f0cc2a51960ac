"""What execd answers, as its OpenAPI document says it. Loaded when somebody asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd.code import CodeRequest, ContextRequest
from opensandbox_jupyter.execd.commands import CommandRequest
from opensandbox_jupyter.execd.entries import Ownership
from opensandbox_jupyter.execd.files import Move, Replacement
from opensandbox_jupyter.execd.pty import PtyRequest
from opensandbox_jupyter.execd.sessions import RunRequest, SessionRequest
from opensandbox_jupyter.hosting.openapi import EVENTS, Operation, Parameter, document

__all__ = ["OPERATIONS", "answer"]

_Whole = Annotated[int, msgspec.Meta(ge=0)]


class Entry(msgspec.Struct):
    """What is known of one file."""

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    modified_at: str
    created_at: str
    owner: str
    group: str
    mode: int


class Metrics(msgspec.Struct):
    """What the sandbox uses."""

    cpu_count: float
    cpu_used_pct: float
    mem_total_mib: float
    mem_used_mib: float
    timestamp: int


class Status(msgspec.Struct, omit_defaults=True):
    """How a command fares."""

    id: str
    running: bool
    started_at: str
    content: str | None = None
    exit_code: int | None = None
    error: str | None = None
    finished_at: str | None = None


class Session(msgspec.Struct):
    """A shell that stays."""

    session_id: str


class Context(msgspec.Struct):
    """A process that remembers what ran in it."""

    id: str
    language: str
    cwd: str


class Terminal(msgspec.Struct):
    """A terminal, and how much it has written."""

    session_id: str
    running: bool
    output_offset: int


class Count(msgspec.Struct, rename="camel"):
    """How often a text was replaced."""

    replaced_count: int


_PATH = Parameter("path", str, required=True)
_PATHS = Parameter("path", list[str])
_TEXT, _BYTES = "text/plain", "application/octet-stream"

OPERATIONS = (
    Operation("GET", "/ping", "Whether execd answers."),
    Operation("POST", "/command", "Run a command and stream events.", CommandRequest, EVENTS),
    Operation(
        "DELETE", "/command", "End a command.", query=[Parameter("id", str, required=True)]
    ),
    Operation("GET", "/command/status/{id}", "How a command fares.", answer=Status),
    Operation(
        "GET", "/command/{id}/logs", "A background command's output from a byte on.",
        answer=_TEXT, query=[Parameter("cursor", _Whole)],
    ),
    Operation(
        "GET", "/command/{id}/stream", "Go on with a stream that is held.",
        answer=EVENTS, query=[Parameter("since", _Whole)],
    ),
    Operation(
        "POST", "/session", "Open a shell that stays.", SessionRequest, Session,
        body_required=False,
    ),
    Operation("POST", "/session/{id}/run", "Run a command in it.", RunRequest, EVENTS),
    Operation("DELETE", "/session/{id}", "Close it."),
    Operation("POST", "/code", "Run code and stream its events.", CodeRequest, EVENTS),
    Operation("DELETE", "/code", "Interrupt code.", query=[Parameter("id", str, required=True)]),
    Operation("POST", "/code/context", "Make a context.", ContextRequest, Context),
    Operation(
        "GET", "/code/contexts", "List contexts.", answer=list[Context],
        query=[Parameter("language")],
    ),
    Operation(
        "DELETE", "/code/contexts", "End the contexts of a language.",
        query=[Parameter("language", str, required=True)],
    ),
    Operation("GET", "/code/contexts/{id}", "Look at a context.", answer=Context),
    Operation("DELETE", "/code/contexts/{id}", "End a context."),
    Operation(
        "POST", "/pty", "Make a terminal.", PtyRequest, Session, status=201, body_required=False
    ),
    Operation("GET", "/pty/{id}", "How a terminal fares.", answer=Terminal),
    Operation("DELETE", "/pty/{id}", "End a terminal."),
    Operation(
        "GET", "/files/info", "What is known of files.", answer=dict[str, Entry], query=[_PATHS]
    ),
    Operation("DELETE", "/files", "Delete files.", query=[_PATHS]),
    Operation("POST", "/files/permissions", "Change owner, group, mode.", dict[str, Ownership]),
    Operation("POST", "/files/mv", "Move files and directories.", list[Move]),
    Operation(
        "GET", "/files/search", "Find files by a pattern.", answer=list[Entry],
        query=[_PATH, Parameter("pattern")],
    ),
    Operation(
        "POST", "/files/replace", "Replace text in files.", dict[str, Replacement],
        dict[str, Count], [Parameter("verbose", bool)],
    ),
    Operation("POST", "/files/upload", "Write files.", "multipart/form-data"),
    Operation(
        "GET", "/files/download", "A file, some bytes or some lines of it.", answer=_BYTES,
        query=[_PATH],
    ),
    Operation(
        "GET", "/directories/list", "What is in a directory.", answer=list[Entry],
        query=[_PATH, Parameter("depth", _Whole)],
    ),
    Operation("POST", "/directories", "Make directories.", dict[str, Ownership]),
    Operation("DELETE", "/directories", "Delete directories and all in them.", query=[_PATHS]),
    Operation("GET", "/metrics", "What the sandbox uses.", answer=Metrics),
    Operation("GET", "/metrics/watch", "The same, again and again.", answer=EVENTS),
)  # fmt: skip
"""Everything but ``/proxy/{port}/…``, which is the sandbox's own servers."""


def answer() -> Response:
    """Send the document."""
    found: dict[str, Any] = document("execd", "1.0.0", OPERATIONS, EXECD_TOKEN_HEADER)
    return Response(msgspec.json.encode(found), media_type="application/json")
