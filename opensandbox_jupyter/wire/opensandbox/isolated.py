"""Operations on execd's isolated sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from opensandbox_jupyter import models
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer
from opensandbox_jupyter.wire.opensandbox._read import OK, build, read_model, to_json
from opensandbox_jupyter.wire.opensandbox.execd import STREAM
from opensandbox_jupyter.wire.protocol.isolated import IsolatedCalls

__all__ = ["Isolated"]

_TOP = "/v1/isolated"
_MADE = (200, 201)
_ACCEPTED = (202,)
_CURSOR = "execd-isolated-tail-cursor"


class Isolated(IsolatedCalls):
    """Open, use and end sessions."""

    def isolated_origin(self, sandbox: Origin, session_id: str) -> Origin:
        """Everything of a session is below /v1/isolated/session/{id}."""
        base_url = f"{sandbox.base_url}{_TOP}/session/{quote(session_id, safe='')}"
        return replace(sandbox, base_url=base_url)

    def create_isolated(
        self, sandbox: Origin, wanted: models.CreateIsolatedSessionRequest
    ) -> Operation[models.IsolatedSessionInfo]:
        """POST /v1/isolated/session."""
        body = to_json(wanted.model_dump(exclude_none=True))
        call = Call("create_isolated_session", sandbox, "POST", f"{_TOP}/session", json=body)
        found = read_model(call, (yield call), models.IsolatedSessionInfo, _MADE)
        asked = {key: getattr(wanted, key) for key in wanted.model_fields_set}
        return found.model_copy(update=asked)

    def list_isolated(self, sandbox: Origin) -> Operation[list[models.IsolatedSessionSummary]]:
        """GET /v1/isolated/sessions."""
        call = Call("list_isolated_sessions", sandbox, "GET", f"{_TOP}/sessions")
        answer = decode_json(call, expect(call, (yield call), OK))
        found = answer.get("sessions") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise invalid_answer(call, ValueError("there are no sessions"))
        return [build(call, models.IsolatedSessionSummary, one) for one in found]

    def isolated_capabilities(self, sandbox: Origin) -> Operation[models.IsolatedCapabilities]:
        """GET /v1/isolated/capabilities."""
        call = Call("get_isolated_capabilities", sandbox, "GET", f"{_TOP}/capabilities")
        return read_model(call, (yield call), models.IsolatedCapabilities)

    def get_isolated(self, session: Origin) -> Operation[models.IsolatedSessionState]:
        """GET /v1/isolated/session/{id}."""
        call = Call("get_isolated_session", session, "GET", "")
        return read_model(call, (yield call), models.IsolatedSessionState)

    def delete_isolated(self, session: Origin) -> Operation[None]:
        """DELETE /v1/isolated/session/{id}."""
        call = Call("delete_isolated_session", session, "DELETE", "")
        expect(call, (yield call))

    def run_isolated(self, session: Origin, code: str, opts: models.IsolatedRunOpts) -> Call:
        """POST …/run; the timeout goes in seconds."""
        body = to_json(_request(code, opts))
        return Call("run_isolated", session, "POST", "/run", headers=STREAM, json=body)

    def run_isolated_background(
        self, session: Origin, code: str, opts: models.IsolatedRunOpts
    ) -> Operation[models.IsolatedBackgroundRun]:
        """POST …/run with ``background``; only 202 is success."""
        body = to_json({**_request(code, opts), "background": True})
        call = Call("run_isolated_background", session, "POST", "/run", json=body)
        return read_model(call, (yield call), models.IsolatedBackgroundRun, _ACCEPTED)

    def isolated_run_status(
        self, session: Origin, run_id: str
    ) -> Operation[models.IsolatedRunStatus]:
        """GET …/runs/{rid}."""
        call = Call("get_isolated_run", session, "GET", f"/runs/{quote(run_id, safe='')}")
        return read_model(call, (yield call), models.IsolatedRunStatus)

    def isolated_run_logs(
        self, session: Origin, run_id: str, cursor: int
    ) -> Operation[models.IsolatedRunLogs]:
        """GET …/runs/{rid}/logs; the next cursor, in bytes, comes in a header."""
        path = f"/runs/{quote(run_id, safe='')}/logs"
        call = Call("get_isolated_run_logs", session, "GET", path, [("cursor", str(cursor))])
        reply = expect(call, (yield call), OK)
        following = reply.headers.get(_CURSOR, "")
        text = reply.body.decode("utf-8", "replace")
        end = int(following) if following.isdecimal() else cursor + len(reply.body)
        return models.IsolatedRunLogs(text=text, cursor=end)


def _request(code: str, opts: models.IsolatedRunOpts) -> dict[str, Any]:
    if not code.strip():
        raise InvalidArgumentException("The code is empty.")
    return {"code": code, **opts.model_dump(exclude_none=True)}
