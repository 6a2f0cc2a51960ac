"""Terminals of execd: calls, and the frames of their WebSocket."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.pty import PtyEvent, PtyExit, PtyOutput, PtyProblem, PtyStatus
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import expect
from opensandbox_jupyter.wire.opensandbox._read import read_model, to_json
from opensandbox_jupyter.wire.protocol.pty import PtyCalls

__all__ = ["Terminals"]

_STDOUT, _STDERR, _REPLAY = b"\1", b"\2", b"\3"
_OFFSET = 8
_SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL", "SIGQUIT", "SIGHUP")


class _Made(msgspec.Struct):
    session_id: str


class _Status(msgspec.Struct):
    session_id: str
    running: bool = False
    output_offset: int = 0


class _Message(msgspec.Struct):
    """A text frame of the daemon."""

    type: str = ""
    exit_code: int = 0
    code: str = "RUNTIME_ERROR"
    error: str = ""


_decode = msgspec.json.Decoder(_Message).decode


class Terminals(PtyCalls):
    """Make, watch and end terminals; read and write their frames."""

    def pty_create(self, sandbox: Origin, cwd: str | None, command: str | None) -> Operation[str]:
        """POST /pty."""
        body = {key: value for key, value in (("cwd", cwd), ("command", command)) if value}
        call = Call("create_pty", sandbox, "POST", "/pty", json=to_json(body))
        return read_model(call, (yield call), _Made, (200, 201)).session_id

    def pty_status(self, sandbox: Origin, session_id: str) -> Operation[PtyStatus]:
        """GET /pty/{id}."""
        call = Call("get_pty", sandbox, "GET", _path(session_id))
        status = read_model(call, (yield call), _Status)
        return PtyStatus(status.session_id, status.running, status.output_offset)

    def pty_delete(self, sandbox: Origin, session_id: str) -> Operation[None]:
        """DELETE /pty/{id}; whatever runs in it is killed."""
        call = Call("delete_pty", sandbox, "DELETE", _path(session_id))
        expect(call, (yield call))

    def pty_attach(
        self, sandbox: Origin, session_id: str, *, since: int, takeover: bool, pipes: bool
    ) -> Call:
        """WebSocket /pty/{id}/ws."""
        query = [("pty", "0" if pipes else "1"), ("since", str(since))]
        if takeover:
            query.append(("takeover", "1"))
        return Call("attach_pty", sandbox, "GET", f"{_path(session_id)}/ws", query)

    def pty_event(self, frame: str | bytes) -> PtyEvent | None:
        """Read a frame; those of another daemon's making say nothing."""
        return _output(frame) if isinstance(frame, bytes) else _news(frame)

    def pty_input(self, data: bytes) -> bytes:
        """A zero byte, then what is typed."""
        return b"\0" + data

    def pty_resize(self, cols: int, rows: int) -> str:
        """A JSON message; both are 1 to 4096."""
        if not (0 < cols <= 4096 and 0 < rows <= 4096):
            raise InvalidArgumentException("cols and rows must be between 1 and 4096.")
        return to_json({"type": "resize", "cols": cols, "rows": rows}).decode()

    def pty_signal(self, signal: str) -> str:
        """A JSON message with the signal's name."""
        if signal not in _SIGNALS:
            raise InvalidArgumentException(f"{signal!r} is none of {', '.join(_SIGNALS)}.")
        return to_json({"type": "signal", "signal": signal}).decode()


def _output(frame: bytes) -> PtyOutput | None:
    kind, data = frame[:1], frame[1:]
    if kind in (_STDOUT, _STDERR):
        return PtyOutput(data, is_error=kind == _STDERR)
    if kind == _REPLAY and len(data) >= _OFFSET:
        return PtyOutput(data[_OFFSET:], int.from_bytes(data[:_OFFSET], "big"))
    return None


def _news(frame: str) -> PtyExit | PtyProblem | None:
    try:
        message = _decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    if message.type == "exit":
        return PtyExit(message.exit_code)
    return PtyProblem(message.code, message.error) if message.type == "error" else None


def _path(session_id: str) -> str:
    return f"/pty/{quote(session_id, safe='')}"
