"""Operations on commands and metrics of execd, the daemon inside a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote

from opensandbox_jupyter import models
from opensandbox_jupyter.constants import (
    EVENT_STREAM,
    LOGS_CURSOR_HEADER,
    OUTPUT_HEADER,
    WHEN_LEFT_HEADER,
)
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer
from opensandbox_jupyter.wire.opensandbox._read import read_model, to_json
from opensandbox_jupyter.wire.protocol.commands import CommandCalls

__all__ = ["STREAM", "Commands"]

STREAM = {
    "Accept": EVENT_STREAM,
    "Cache-Control": "no-cache",
    OUTPUT_HEADER: "chunks",
}


class Commands(CommandCalls):
    """Run, watch and end commands; measure the sandbox."""

    def ping(self, sandbox: Origin) -> Operation[None]:
        """GET /ping; any 2xx is success."""
        call = Call("ping", sandbox, "GET", "/ping", once=True)
        expect(call, (yield call))

    def metrics(self, sandbox: Origin) -> Operation[models.SandboxMetrics]:
        """GET /metrics."""
        call = Call("get_metrics", sandbox, "GET", "/metrics")
        return read_model(call, (yield call), models.SandboxMetrics)

    def run(
        self, sandbox: Origin, command: str | Sequence[str], opts: models.RunCommandOpts | None
    ) -> Call:
        """POST /command; the timeout goes in milliseconds, a list of words runs without a shell."""
        body: dict[str, Any] = {}
        if isinstance(command, str):
            if not command.strip():
                raise InvalidArgumentException("The command is empty.")
            body["command"] = command
        else:
            if not command or not all(isinstance(word, str) for word in command):
                raise InvalidArgumentException("An argv command is a non-empty list of strings.")
            body["argv"] = list(command)
        if opts is not None:
            body.update(_options(opts))
        return Call("run_command", sandbox, "POST", "/command", headers=STREAM, json=to_json(body))

    def when_left(self, call: Call, wish: Literal["go-on", "hold"]) -> Call:
        """A header of our own, which other daemons pass over."""
        return replace(call, headers={**call.headers, WHEN_LEFT_HEADER: wish})

    def reattach(self, sandbox: Origin, execution_id: str, since: int) -> Call:
        """GET /command/{id}/stream?since=, of our own; 404 from other daemons."""
        path = f"/command/{quote(execution_id, safe='')}/stream"
        query = [("since", str(since))]
        return Call("reattach", sandbox, "GET", path, query, headers=STREAM)

    def interrupt(self, sandbox: Origin, execution_id: str) -> Operation[None]:
        """DELETE /command?id=; ends the whole process group."""
        call = Call("interrupt_command", sandbox, "DELETE", "/command", [("id", execution_id)])
        expect(call, (yield call))

    def command_status(self, sandbox: Origin, execution_id: str) -> Operation[models.CommandStatus]:
        """GET /command/status/{id}."""
        path = f"/command/status/{quote(execution_id, safe='')}"
        call = Call("get_command_status", sandbox, "GET", path)
        return read_model(call, (yield call), models.CommandStatus)

    def command_logs(
        self, sandbox: Origin, execution_id: str, cursor: int | None
    ) -> Operation[models.CommandLogs]:
        """GET /command/{id}/logs; the next cursor, in bytes, comes in a header."""
        query = [] if cursor is None else [("cursor", str(cursor))]
        path = f"/command/{quote(execution_id, safe='')}/logs"
        call = Call("get_background_command_logs", sandbox, "GET", path, query)
        reply = expect(call, (yield call), (200,))
        following = reply.headers.get(LOGS_CURSOR_HEADER.lower(), "")
        return models.CommandLogs(
            content=reply.body.decode("utf-8", "replace"),
            cursor=int(following) if following.isdecimal() else None,
        )

    def create_session(self, sandbox: Origin, working_directory: str | None) -> Operation[str]:
        """POST /session; without a directory there is no body."""
        body = None if working_directory is None else to_json({"cwd": working_directory})
        call = Call("create_session", sandbox, "POST", "/session", json=body)
        answer = decode_json(call, expect(call, (yield call), (200, 201)))
        found = answer.get("session_id") if isinstance(answer, dict) else None
        if not isinstance(found, str):
            raise invalid_answer(call, ValueError("there is no session_id"))
        return found

    def run_in_session(
        self,
        sandbox: Origin,
        session_id: str,
        command: str,
        working_directory: str | None,
        timeout: timedelta | None,
    ) -> Call:
        """POST /session/{id}/run; the timeout goes in milliseconds."""
        if not command.strip():
            raise InvalidArgumentException("The command is empty.")
        body: dict[str, Any] = {"command": command}
        if working_directory is not None:
            body["cwd"] = working_directory
        if timeout is not None:
            body["timeout"] = int(timeout.total_seconds() * 1000)
        path = f"/session/{quote(session_id, safe='')}/run"
        return Call("run_in_session", sandbox, "POST", path, headers=STREAM, json=to_json(body))

    def delete_session(self, sandbox: Origin, session_id: str) -> Operation[None]:
        """DELETE /session/{id}."""
        path = f"/session/{quote(session_id, safe='')}"
        call = Call("delete_session", sandbox, "DELETE", path)
        expect(call, (yield call))


def _options(opts: models.RunCommandOpts) -> dict[str, Any]:
    """Return the options that were set; execd takes an absent key and a null differently."""
    if opts.gid is not None and opts.uid is None:
        raise InvalidArgumentException("gid needs uid.", hint="Give both, or only uid.")
    milliseconds = None
    if opts.timeout is not None:
        milliseconds = int(opts.timeout.total_seconds() * 1000)
        if milliseconds < 1:
            raise InvalidArgumentException("The command's timeout must be at least 1 ms.")
    options = {
        "cwd": opts.working_directory,
        "background": opts.background or None,
        "timeout": milliseconds,
        "uid": opts.uid,
        "gid": opts.gid,
        "envs": opts.envs or None,
    }
    return {key: value for key, value in options.items() if value is not None}
