"""Requests as bytes. Sans-IO: where a call goes, its head, and an upload in pieces."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import UnsupportedOperation
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.transport.failures import BadAddress, Broken
from opensandbox_jupyter.transport.redirects import common_to_all
from opensandbox_jupyter.wire.base import Call, Feed, Origin, Part

__all__ = ["Door", "Request", "RequestWriter", "Upload", "at_hand", "bare"]

PIECE = 1024 * 1024
"""How much of an upload is handed to a socket at once, in bytes."""

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})

Piece = bytes | memoryview

_ROUTES_KEPT = 256
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_ADDRESS = re.compile(r"[\x00-\x20\x7f]")
_PATH_SAFE = "/:@!$&'()*+,;=~%-._[]"


@dataclass(frozen=True, slots=True)
class Door:
    """Where connections of an origin go."""

    host: str
    port: int
    secure: bool


@dataclass(frozen=True, slots=True)
class _Route:
    """What all requests to an origin have in common."""

    origin: Origin
    door: Door
    prefix: str
    headers: Mapping[str, bytes] = field(repr=False)
    block: bytes = field(repr=False)


class Upload:
    """A multipart body, made while it is sent. Files are read from their beginning.

    ``length`` is ``None`` when the length of a part cannot be known; it is then sent in chunks.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        boundary = os.urandom(16).hex()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._pieces = [(_part_head(part, boundary), part, _length(part.content)) for part in parts]
        self._end = f"--{boundary}--\r\n".encode()
        lengths = [length for _, _, length in self._pieces]
        self.length = (
            None
            if None in lengths
            else sum(len(head) + 2 for head, _, _ in self._pieces)
            + sum(n for n in lengths if n is not None)
            + len(self._end)
        )
        self.replayable = all(isinstance(p.content, bytes) for p in parts)

    def pieces(self) -> Iterator[Piece | AsyncIterable[bytes]]:
        """Give the body piece by piece, or where to get the next pieces by waiting for them.

        Raises:
            Broken: when a part holds less, or more, than it said when the request began.
        """
        for head, part, length in self._pieces:
            yield head
            yield from _content(part.content, length)
            yield b"\r\n"
        yield self._end

    def framed(self, piece: Piece) -> Piece:
        """Return a piece as it is sent: in a chunk of its own if the length is not known."""
        if self.length is not None or not piece:
            return piece
        return b"".join((b"%x\r\n" % len(piece), piece, b"\r\n"))

    @property
    def tail(self) -> bytes:
        """What is sent after the last piece."""
        return b"0\r\n\r\n" if self.length is None else b""


def at_hand(piece: Piece | AsyncIterable[bytes]) -> Piece:
    """Return a piece of an upload that need not be waited for.

    Raises:
        InvalidArgumentException: when it must.
    """
    if isinstance(piece, bytes | memoryview):
        return piece
    raise InvalidArgumentException(
        "The blocking SDK takes plain iterables, not async ones.",
        hint="Pass a generator or a list, or use Sandbox instead of SandboxSync.",
    )


@dataclass(slots=True)
class Request:
    """One request, ready to be sent: its head with a small body, or with an upload after it."""

    door: Door
    head: bytes = field(repr=False)
    idempotent: bool
    upload: Upload | None = field(default=None)
    patience: float | None = None

    def may_repeat(self, *, sent: bool) -> bool:
        """Return whether to send it again after a connection that was closed while idle."""
        same = self.upload is None or self.upload.replayable
        return same and (self.idempotent or not sent)


class RequestWriter:
    """Writes calls as requests, with the headers that go along with all of them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._always = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        self._routes: dict[int, _Route] = {}

    def write(self, call: Call) -> Request:
        """Return ``call`` as a request.

        Raises:
            BadAddress: when the origin is not an http or https address.
            InvalidArgumentException: when a header or the path would break out of its line.
        """
        route = self._route(call.origin)
        upload = Upload(list(call.parts)) if call.json is None and call.parts is not None else None
        extra = dict(call.headers)
        body = call.json or b""
        if call.json is not None:
            extra["Content-Type"] = "application/json"
        elif upload is not None:
            extra["Content-Type"] = upload.content_type
        if upload is not None and upload.length is None:
            extra["Transfer-Encoding"] = "chunked"
        elif upload is not None or call.json is not None or call.method not in ("GET", "HEAD"):
            length = upload.length if upload is not None else len(body)
            extra["Content-Length"] = str(length)
        head = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (
            call.method.encode("ascii"),
            _target(route, call),
            _merged(route, extra),
            body,
        )
        return Request(route.door, head, call.method in IDEMPOTENT, upload, call.patience)

    def _route(self, origin: Origin) -> _Route:
        known = self._routes.get(id(origin))
        if known is not None and known.origin is origin:
            return known
        if len(self._routes) >= _ROUTES_KEPT:
            self._routes.clear()
        door, prefix, own = _address(origin.base_url)
        always = common_to_all(self._always) if origin.is_foreign else self._always
        headers = _encoded({**own, **always})
        headers.update(_encoded(origin.headers))
        route = _Route(origin, door, prefix, headers, b"".join(headers.values()))
        self._routes[id(origin)] = route
        return route


def bare(address: str) -> tuple[str, dict[str, str]]:
    """Return an address without user and password, and the header that says them instead."""
    userinfo, separator, _ = address.partition("://")[2].partition("/")[0].rpartition("@")
    if not separator:
        return address, {}
    pair = ":".join(unquote(word) for word in (f"{userinfo}:").split(":", 2)[:2])
    header = "Basic " + base64.b64encode(pair.encode()).decode()
    return address.replace(f"{userinfo}@", "", 1), {"Authorization": header}


def _address(base_url: str) -> tuple[Door, str, dict[str, str]]:
    """Return where an address leads, its path, and the headers that it asks for."""
    base_url, authorization = bare(base_url)
    try:
        if _NO_ADDRESS.search(base_url):
            raise ValueError("it holds a blank or a control character")
        parts = urlsplit(base_url)
        scheme, host = parts.scheme.lower(), parts.hostname
        if scheme not in _PORTS or not host:
            raise ValueError("it is not http://host or https://host")
        port = parts.port or _PORTS[scheme]
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError as cause:
        raise BadAddress(cause) from cause
    shown = f"[{name}]" if ":" in name else name
    headers = {"Host": shown if port == _PORTS[scheme] else f"{shown}:{port}"}
    return Door(name, port, scheme == "https"), parts.path, {**headers, **authorization}


def _target(route: _Route, call: Call) -> bytes:
    path = route.prefix + call.path
    if _NO_ADDRESS.search(path):
        raise InvalidArgumentException(
            f"{call.name.replace('_', ' ')}: the path holds a blank or a control character."
        )
    target = quote(path, safe=_PATH_SAFE) or "/"
    return f"{target}?{urlencode(call.query)}".encode() if call.query else target.encode()


def _encoded(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return header lines by lower-case name."""
    return {name.lower(): _line(name, value) for name, value in headers.items()}


def _merged(route: _Route, extra: Mapping[str, str]) -> bytes:
    if not extra:
        return route.block
    lines = {name.lower(): _known_line(name, value) for name, value in extra.items()}
    if lines.keys().isdisjoint(route.headers):
        return route.block + b"".join(lines.values())
    return b"".join({**route.headers, **lines}.values())


def _line(name: str, value: str) -> bytes:
    """Return a header line; a line feed in it would begin another header, or another request."""
    if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
        raise InvalidArgumentException(
            f"The header {name!r} cannot be sent: it holds a line end or a control character.",
            hint="Look at ConnectionConfig(headers=..., api_key=...) and at the call's arguments.",
        )
    line = f"{name}: {value.strip()}\r\n"
    if max(line) > "\xff":
        raise InvalidArgumentException(f"The header {name!r} cannot be sent: it is not Latin-1.")
    return line.encode("latin-1")


_known_line = lru_cache(maxsize=128)(_line)  # headers of calls, which are much the same


def _part_head(part: Part, boundary: str) -> bytes:
    lines = (
        f"--{boundary}",
        f'Content-Disposition: form-data; name="{_quoted(part.name)}"; '
        f'filename="{_quoted(part.filename)}"',
        f"Content-Type: {_FORBIDDEN.sub('', part.content_type)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _quoted(text: str) -> str:
    """Escape a form's parameter as browsers do."""
    text = text.replace("\\", "\\\\").replace('"', "%22")
    return re.sub(r"[\x00-\x1a\x1c-\x1f]", lambda m: f"%{ord(m.group()):02X}", text)


def _length(content: Any) -> int | None:
    """Return how long a part is, wound back to its beginning; ``None`` when it cannot be told."""
    if isinstance(content, Feed):
        return content.size
    if isinstance(content, bytes):
        return len(content)
    try:
        end = content.seek(0, os.SEEK_END)
        content.seek(0)
    except (AttributeError, OSError, UnsupportedOperation):
        return None
    return int(end)


def _content(content: Any, length: int | None) -> Iterator[Piece | AsyncIterable[bytes]]:
    if isinstance(content, Feed):
        chunks = content.chunks
        if isinstance(chunks, AsyncIterable):
            yield chunks if length is None else _counted(chunks, length)
        else:
            yield from chunks if length is None else _exactly(chunks, length)
        return
    if isinstance(content, bytes):
        view = memoryview(content)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
        return
    if length is not None:
        content.seek(0)
    left = length
    while left is None or left > 0:
        piece = content.read(PIECE if left is None else min(PIECE, left))
        if not piece:
            if left:
                raise Broken(_short())
            return
        left = None if left is None else left - len(piece)
        yield piece.encode() if isinstance(piece, str) else piece


def _exactly(chunks: Iterable[bytes], length: int) -> Iterator[bytes]:
    """Give ``chunks``, which must be so many bytes: the head of the request said so."""
    left = length
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise Broken(_short())


async def _counted(chunks: AsyncIterable[bytes], length: int) -> AsyncIterator[bytes]:
    left = length
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise Broken(_short())


def _short() -> Exception:
    return EOFError("what was sent changed its length meanwhile")
