"""``/files/download``: a whole file, a range of its bytes, or some of its lines."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from io import FileIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from opensandbox_jupyter.execd.errors import Refusal, from_os_error
from opensandbox_jupyter.execd.pieces import PIECE, in_threads, read_pieces
from opensandbox_jupyter.execd.requests import absolute, integer

__all__ = ["download"]

_UNSIZED_LIMIT = 16 * 1024 * 1024
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*(?:,|$)")


async def download(request: Request) -> Response:
    """Send a file."""
    asked = request.query_params.get("path")
    if not asked:
        raise Refusal(400, "MISSING_QUERY", "The parameter path is missing.")
    path = absolute(request, asked)
    first, most = integer(request, "offset", 1), integer(request, "limit", 1)
    wanted = request.headers.get("range")
    by_line = first is not None or most is not None
    if by_line and wanted is not None:
        raise Refusal(400, "INVALID_REQUEST_BODY", "Give either lines or a Range, not both.")
    file, size = await asyncio.to_thread(_open, path)
    try:
        if by_line:
            lines = in_threads(file, _lines(file, first or 1, most))
            return StreamingResponse(lines, media_type="text/plain; charset=utf-8")
        if size == 0 and (body := await asyncio.to_thread(_unsized, file)):
            file.close()
            return Response(body, headers=_headers(path), media_type="application/octet-stream")
        return _bytes(file, path, size, wanted)
    except BaseException:
        file.close()
        raise


def _bytes(file: FileIO, path: str, size: int, wanted: str | None) -> Response:
    start, end = (0, size) if wanted is None else _range(wanted, size)
    headers = _headers(path) | {"Content-Length": str(end - start)}
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        in_threads(file, read_pieces(file, start, end)),
        status_code=200 if wanted is None else 206,
        headers=headers,
        media_type="application/octet-stream",
    )


def _open(path: str) -> tuple[FileIO, int]:
    """Return an open regular file, and its size; never waits for one that is not.

    Raises:
        Refusal: 404 when there is none, 400 when it is something else.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refusal(400, "INVALID_FILE", f"{path} is not a regular file.")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as exc:
        raise from_os_error(exc, path) from None
    file = FileIO(fd)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        file.close()
        raise Refusal(400, "INVALID_FILE", f"{path} is not a regular file.")
    return file, info.st_size


def _unsized(file: FileIO) -> bytes:
    """Read a file that says it is empty: those of the kernel do, and some have no end."""
    pieces: list[bytes] = []
    length = 0
    try:
        while length < _UNSIZED_LIMIT and (piece := file.read(PIECE)):
            pieces.append(piece)
            length += len(piece)
    except OSError:
        pass  # what came before is the answer
    return b"".join(pieces)


def _range(wanted: str, size: int) -> tuple[int, int]:
    """Return the first range that is asked for, as start and end.

    Raises:
        Refusal: 416.
    """
    match = _RANGE.match(wanted)
    if match is None or match[1] == match[2] == "":
        raise _not_satisfiable("The Range cannot be read.", size)
    if match[1]:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
        inverted = bool(match[2]) and int(match[2]) < start
    else:
        start, end = max(0, size - int(match[2])), size
        inverted = False
    if inverted or start >= end:
        raise _not_satisfiable(f"The Range is outside of the file's {size} bytes.", size)
    return start, end


def _not_satisfiable(message: str, size: int) -> Refusal:
    refusal = Refusal(416, "UNKNOWN", message)
    refusal.headers["Content-Range"] = f"bytes */{size}"
    return refusal


def _headers(path: str) -> dict[str, str]:
    """Return the headers that name the file, in the form of RFC 6266 where it needs one."""
    name = os.fsencode(os.path.basename(path))
    plain = name.isascii() and not re.search(rb'[\x00-\x1f\x7f"\\%]', name)
    value = f'filename="{name.decode()}"' if plain else f"filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Disposition": f"attachment; {value}",
        "X-Content-Type-Options": "nosniff",
    }


def _lines(file: FileIO, first: int, most: int | None) -> Iterator[bytes]:
    """Read ``most`` lines from line ``first`` on, ended by LF alone, the last one not at all."""
    skip, left, held = first - 1, most, b""
    while left != 0 and (block := file.read(PIECE)):
        if skip:
            start, skipped = _after(block, skip)
            skip -= skipped
            block = block[start:]
        if left is not None:
            end, taken = _after(block, left)
            left -= taken
            block = block[:end]
        text = held + block
        # What ends the block may be the end of the last line, which is not sent.
        tail = text[-2:]
        held = tail if tail == b"\r\n" else tail[-1:] if tail.endswith((b"\r", b"\n")) else b""
        yield text[: len(text) - len(held)].replace(b"\r\n", b"\n")


def _after(block: bytes, count: int) -> tuple[int, int]:
    """Return where in ``block`` its first ``count`` lines end, and how many there are."""
    found = block.count(b"\n")
    if found < count:
        return len(block), found
    at = 0
    for _ in range(count):
        at = block.index(b"\n", at) + 1
    return at, count
