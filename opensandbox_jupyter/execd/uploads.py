"""``/files/upload``: pairs of metadata and file, written to disk as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.execd.entries import Ownership
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.requests import absolute
from opensandbox_jupyter.execd.targets import Target

__all__ = ["ROUTES"]

_BATCH = 1024 * 1024
_METADATA_LIMIT = 64 * 1024


class Metadata(Ownership, kw_only=True):
    """The first part of a pair: where the file goes."""

    path: str


class Upload:
    """Takes the parts of one request and writes its files; runs in a worker thread.

    Args:
        resolve: makes a path absolute.
    """

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._resolve = resolve
        self._waiting: list[Metadata] = []
        self._text: bytearray | None = None
        self._target: Target | None = None
        self._files = 0

    def begin(self, name: str) -> None:
        """Take the start of a part.

        Raises:
            Refusal: 400 when it is not its turn.
        """
        if name == "metadata":
            self._text = bytearray()
        elif not self._waiting:
            raise Refusal(400, "INVALID_FILE", "A file must come after its metadata.")
        else:
            metadata = self._waiting.pop(0)
            self._target = Target(self._resolve(metadata.path), metadata)

    def data(self, data: bytes) -> None:
        """Take some of a part's content."""
        if self._target is not None:
            self._target.write(data)
        elif self._text is not None:
            self._text += data
            if len(self._text) > _METADATA_LIMIT:
                raise Refusal(400, "INVALID_FILE_METADATA", "The metadata is too long.")

    def end(self) -> None:
        """Take the end of a part: a file is put into its place."""
        if self._target is not None:
            self._target.commit()
            self.close()
            self._files += 1
        elif self._text is not None:
            self._waiting.append(_metadata(self._text))
            self._text = None

    def finish(self) -> None:
        """Take the end of the request.

        Raises:
            Refusal: 400 when pairs are incomplete, or there are none.
        """
        if self._waiting or self._target or not self._files:
            raise Refusal(400, "INVALID_FILE", "Each metadata part needs its file, one at least.")

    def close(self) -> None:
        """Forget a file that is not complete."""
        if self._target is not None:
            self._target.close()
            self._target = None


def _metadata(text: bytearray) -> Metadata:
    try:
        return msgspec.json.decode(text, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        message = f"The metadata cannot be used: {exc}"
        raise Refusal(400, "INVALID_FILE_METADATA", message) from None


class Steps:
    """What the parser found, as calls on an :class:`Upload` that are made later, in a thread."""

    def __init__(self, boundary: bytes, upload: Upload) -> None:
        self._upload = upload
        self._steps: list[Callable[[], None]] = []
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self.ended = False
        callbacks: Any = {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": lambda: self._steps.append(upload.end),
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> None:
        """Parse ``data``.

        Raises:
            Refusal: 400 when it is not such a form.
        """
        try:
            self._parser.write(data)
        except FormParserError as exc:
            raise Refusal(400, "INVALID_FILE_CONTENT", f"The form cannot be read: {exc}") from None

    def run(self) -> None:
        """Make the calls that have gathered."""
        steps, self._steps = self._steps, []
        for step in steps:
            step()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in ("metadata", "file"):
            raise Refusal(400, "INVALID_FILE", f"The form has no part {name[:64]!r}.")
        if not options.get(b"filename"):
            code = "INVALID_FILE_METADATA" if name == "metadata" else "INVALID_FILE"
            raise Refusal(400, code, f"The part {name} needs a filename.")
        self._steps.append(lambda: self._upload.begin(name))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        self._steps.append(lambda: self._upload.data(piece))

    def _on_end(self) -> None:
        self.ended = True


async def _receive(request: Request) -> Response:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(400, "INVALID_FILE", "The body must be multipart/form-data.")
    upload = Upload(lambda path: absolute(request, path))
    try:
        await _write(request, Steps(boundary, upload))
        upload.finish()
    except FormParserError:
        raise Refusal(400, "INVALID_FILE", "The boundary is too long.") from None
    except ClientDisconnect:
        raise Refusal(400, "INVALID_FILE_CONTENT", "The body was cut off.") from None
    finally:
        await asyncio.shield(asyncio.to_thread(upload.close))
    return Response()


async def _write(request: Request, steps: Steps) -> None:
    """Parse one batch while the one before is written."""
    writing: asyncio.Future[None] | None = None
    gathered = 0
    try:
        async for piece in request.stream():
            steps.feed(piece)
            gathered += len(piece)
            if gathered >= _BATCH:
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(steps.run))
                gathered = 0
    finally:
        if writing is not None:
            await asyncio.shield(writing)
    await asyncio.to_thread(steps.run)
    if not steps.ended:
        raise Refusal(400, "INVALID_FILE_CONTENT", "The form has no end.")


ROUTES = [Route("/files/upload", _receive, methods=["POST"])]
