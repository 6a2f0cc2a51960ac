"""Reading a request: its JSON body, bounded and typed, and its paths."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from opensandbox_jupyter.constants import OUTPUT_HEADER, PATHS_HEADER, WHEN_LEFT_HEADER
from opensandbox_jupyter.execd.environment import expand
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.settings import Settings

__all__ = [
    "JSON_LIMIT",
    "absolute",
    "boolean",
    "in_chunks",
    "integer",
    "is_directory",
    "paths_of",
    "read_json",
    "read_optional",
    "settings_of",
    "when_left",
]

T = TypeVar("T")

JSON_LIMIT = 16 * 1024 * 1024


def in_chunks(request: Request) -> bool:
    """Return whether output shall come as events of many lines."""
    return request.headers.get(OUTPUT_HEADER, "").strip().lower() == "chunks"


def when_left(request: Request) -> str:
    """Return what shall become of a run whose client has left."""
    return request.headers.get(WHEN_LEFT_HEADER, "").strip().lower()


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body as a ``kind``.

    Raises:
        Refusal: 413 when it is too large, 400 when it is not such a thing.
    """
    return _decode(await _body(request), kind)


async def read_optional(request: Request, kind: type[T]) -> T:
    """Return the body as a ``kind``; none is the same as an empty object.

    Raises:
        Refusal: as :func:`read_json`.
    """
    return _decode(await _body(request) or b"{}", kind)


async def _body(request: Request) -> bytearray:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > JSON_LIMIT:
                raise Refusal(413, "PAYLOAD_TOO_LARGE", f"The body is over {JSON_LIMIT} bytes.")
    except ClientDisconnect:
        raise bad_request("The body was cut off.") from None
    return body


def _decode(body: bytes | bytearray, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise bad_request(f"The body cannot be used: {exc}") from None


def settings_of(request: HTTPConnection) -> Settings:
    """Return the settings of this daemon."""
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


def absolute(request: Request, path: str) -> str:
    """Return ``path`` from the sandbox's working directory, ``~`` and variables expanded.

    Whoever has the path from a listing, and means no variable, says so by a header.

    Raises:
        Refusal: 400 when it is empty or cannot be a path.
    """
    settings = settings_of(request)
    if not path or "\0" in path:
        raise bad_request("A path must not be empty or hold a NUL character.")
    if request.headers.get(PATHS_HEADER, "").strip().lower() != "literal":
        path = expand(path, settings.env)
    full = os.path.join(settings.cwd, path)
    try:
        os.fsencode(full)
    except UnicodeEncodeError:
        raise bad_request("A path must be text.") from None
    return os.path.normpath(full) if full.strip("/") else "/"


def is_directory(path: str) -> bool:
    """Whether there is a directory at ``path``."""
    return os.path.isdir(path)


def paths_of(request: Request) -> dict[str, str]:
    """Return the ``path`` parameters, each with what it stands for."""
    return {path: absolute(request, path) for path in request.query_params.getlist("path")}


def boolean(request: Request, name: str) -> bool:
    """Return a parameter that is true or false, ``False`` without it.

    Raises:
        Refusal: 400 for anything else.
    """
    text = request.query_params.get(name, "false").lower()
    if text not in {"true", "1", "false", "0"}:
        raise bad_request(f"{name} must be true or false.")
    return text in {"true", "1"}


def integer(request: Request, name: str, least: int) -> int | None:
    """Return a parameter that is a whole number of at least ``least``, or ``None``.

    Raises:
        Refusal: 400 for anything else.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = int(text[:20])
    except ValueError:
        value = least - 1
    if value < least:
        raise bad_request(f"{name} must be a whole number of at least {least}.")
    return value
