"""What a request may be refused with, and how any failure becomes ``{"code", "message"}``."""

from __future__ import annotations

import errno
import logging

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opensandbox_jupyter.exceptions import SandboxError, SandboxException
from opensandbox_jupyter.hosting.methods import methods_of

__all__ = ["HANDLERS", "Refusal", "bad_request", "error_response", "from_os_error"]

_log = logging.getLogger(__name__)

_BAD_PATH = frozenset(
    {
        errno.EEXIST,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.ENXIO,
    }
)
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "PAYLOAD_TOO_LARGE"}


class Refusal(SandboxException):
    """A request that is answered with ``status`` and ``{"code", "message"}``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, error=SandboxError(code, message))
        self.status = status
        self.headers: dict[str, str] = {}


def bad_request(message: str) -> Refusal:
    """Return the refusal of a request that makes no sense."""
    return Refusal(400, "INVALID_REQUEST_BODY", message)


def from_os_error(exc: OSError, path: str | None = None) -> Refusal:
    """Return the refusal that an error of the system amounts to."""
    where = path if path is not None else exc.filename
    name = where.decode("utf-8", "replace") if isinstance(where, bytes) else where
    what = exc.strerror or type(exc).__name__
    message = f"{name}: {what}" if isinstance(name, str) else what
    if isinstance(exc, FileNotFoundError):
        return Refusal(404, "FILE_NOT_FOUND", message)
    if exc.errno in _BAD_PATH:
        return Refusal(400, "INVALID_FILE", message)
    if exc.errno in _FORBIDDEN:
        return Refusal(403, "RUNTIME_ERROR", message)
    return Refusal(507 if exc.errno in _FULL else 500, "RUNTIME_ERROR", message)


def error_response(status: int, code: str, message: str, **more: str) -> Response:
    """Return the answer ``{"code", "message"}``, with ``more`` keys."""
    body = {"code": code, "message": _clean(message)} | more
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _clean(message: str) -> str:
    """Return ``message`` without the halves of characters that a file's name may hold."""
    return message.encode("utf-8", "replace").decode("utf-8")


def _refused(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refusal)
    response = error_response(exc.status, exc.error.code, exc.message or "")
    response.headers.update(exc.headers)
    return response


def _system(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, OSError)
    refusal = from_os_error(exc)
    return error_response(refusal.status, refusal.error.code, refusal.message or "")


def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code = _CODES.get(exc.status_code, "UNKNOWN")
    response = error_response(exc.status_code, code, exc.detail)
    response.headers.update(exc.headers or {})
    if exc.status_code == 405:
        response.headers["Allow"] = ", ".join(methods_of(request.app.routes, request.scope))
    return response


def _unexpected(_: Request, exc: Exception) -> Response:
    return error_response(500, "RUNTIME_ERROR", f"{type(exc).__name__} in the daemon")


HANDLERS = {
    Refusal: _refused,
    OSError: _system,
    HTTPException: _http,
    Exception: _unexpected,
}
"""Starlette's table of exception handlers."""
