"""One edge where an answer that is not the expected one becomes an exception."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from opensandbox_jupyter.constants import REQUEST_ID_HEADER
from opensandbox_jupyter.exceptions import (
    MalformedAnswerException,
    SandboxApiException,
    SandboxError,
    SandboxRateLimitException,
    printable,
)
from opensandbox_jupyter.retry import retry_after
from opensandbox_jupyter.secrecy import masked, secrets_of, secrets_within
from opensandbox_jupyter.wire.base import Call, Reply

__all__ = ["about", "api_error", "decode_json", "expect"]

_EXCERPT = 512
_MOST_BODY = 64 * 1024
_ANY_2XX = range(200, 300)
_decode = msgspec.json.Decoder().decode

_ELSEWHERE = "The server points elsewhere: use that address, or let follow_redirects=True go there."
_HINTS = {
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    401: "Set OPEN_SANDBOX_API_KEY, or pass ConnectionConfig(api_key=...). "
    "A key in a profile goes only to the domain that stands beside it.",
    403: "The server knows the caller but does not allow this.",
    409: "Look at the sandbox's state with get_info(): it does not allow this now.",
    429: "Wait a little and try again.",
    503: "The server is not ready; try again in a moment.",
}


def expect(call: Call, reply: Reply, statuses: Collection[int] = _ANY_2XX) -> Reply:
    """Return ``reply`` if its status is one of ``statuses``, else raise what it means.

    Raises:
        SandboxApiException: for any other status.
    """
    if reply.status in statuses:
        return reply
    raise api_error(call, reply)


def api_error(call: Call, reply: Reply) -> SandboxApiException:
    """Return the exception for an answer that is not a success."""
    body = masked(reply.body, _secrets(call))
    code, message = _reason(body)
    kind = SandboxRateLimitException if reply.status == 429 else SandboxApiException
    what = call.name.replace("_", " ")
    if message is None:
        excerpt = " ".join(body[:_EXCERPT].decode("utf-8", "replace").split())
        message = printable(excerpt) or "the answer has no body"
    error = kind(
        f"{what} failed with status {reply.status}: {message}",
        status_code=reply.status,
        response_body=body[:_MOST_BODY],
        operation=call.name,
        error=SandboxError(code or SandboxError.UNEXPECTED_RESPONSE, message),
        request_id=_request_id(reply),
        hint=_hint(reply.status, code),
    )
    if isinstance(error, SandboxRateLimitException):
        error.retry_after = retry_after(reply.headers.get("retry-after", ""))
    return error


def decode_json(call: Call, reply: Reply) -> Any:
    """Return the body of ``reply`` as Python data.

    Raises:
        SandboxApiException: when it is not JSON.
    """
    try:
        return _decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise MalformedAnswerException(
            f"{call.name.replace('_', ' ')}: the answer is not JSON.",
            operation=call.name,
            cause=cause,
            hint="Is this the address of an OpenSandbox server? A proxy may have answered instead.",
        ) from cause


def invalid_answer(call: Call, cause: Exception) -> MalformedAnswerException:
    """Return the exception for JSON that lacks what the protocol promises."""
    return MalformedAnswerException(
        f"{call.name.replace('_', ' ')}: the answer is not what the protocol promises: "
        f"{_sentence(cause)}",
        operation=call.name,
        cause=cause,
        hint="The server may be newer or older than this package, or no OpenSandbox server.",
    )


def about(error: MalformedAnswerException, call: Call, reply: Reply) -> MalformedAnswerException:
    """Say in ``error`` which answer it was that could not be read."""
    error.status_code = reply.status
    error.response_body = masked(reply.body[:_MOST_BODY], _secrets(call))
    error.request_id = _request_id(reply)
    return error


def _sentence(cause: Exception) -> str:
    """Return what is wrong in one line, and without the values."""
    if type(cause).__module__.startswith("pydantic"):
        from opensandbox_jupyter.models import _base

        return _base.sentence(cause)
    return " ".join(str(cause).split())


def _secrets(call: Call) -> Iterator[str]:
    """Give what no message about a call may repeat."""
    if call.json is not None:
        yield from secrets_within(_decode(call.json))
    yield from secrets_of({**call.origin.headers, **call.headers}, call.origin.base_url)


def _request_id(reply: Reply) -> str | None:
    return reply.headers.get(REQUEST_ID_HEADER.lower(), "").strip() or None


def _reason(body: bytes) -> tuple[str | None, str | None]:
    """Return code and message, as far as the body holds any of the known shapes."""
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None
    if not isinstance(data, dict):
        return None, None
    code, message = data.get("code"), data.get("message", data.get("error"))
    return (
        code if isinstance(code, str) and code else None,
        message if isinstance(message, str) and message else None,
    )


def _hint(status: int, code: str | None) -> str | None:
    if status == 404 and code and code.endswith("SANDBOX_NOT_FOUND"):
        return "It was killed, it expired, or the id is wrong: SandboxManager lists what there is."
    return _HINTS.get(status)
