"""Answers as they come. Sans-IO: bytes in, status, headers and body out."""

from __future__ import annotations

from io import BytesIO

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from opensandbox_jupyter.transport.failures import Broken, HungUp, Unfit

__all__ = ["Answer", "Body"]

MAX_HEAD = 64 * 1024
"""The longest head of an answer that is read, in bytes."""

DRIPS = 10
"""How many times the request timeout a whole answer may take, however steadily it drips."""

MAX_BODY = 1024 * 1024 * 1024
"""The longest body that is kept whole in memory, in bytes; streams are not bounded."""


_STEP = 4 * 1024 * 1024


class Body:
    """A body of ``length`` bytes, received where it will stay.

    Memory is reserved at once and used as bytes come, so that a length which was only claimed
    costs nothing.

    Raises:
        Broken: when no memory could ever hold it.
    """

    def __init__(self, length: int, begun: bytes) -> None:
        try:
            self._file = BytesIO(bytes(length))  # zeros that nobody has touched, and no copy
        except (MemoryError, OverflowError) as cause:
            raise Broken(cause) from cause
        self._view = self._file.getbuffer()
        self._view[: len(begun)] = begun
        self._length = length
        self._at = len(begun)

    @property
    def full(self) -> bool:
        """Whether all of it has come."""
        return self._at >= self._length

    def room(self) -> memoryview:
        """Return where the next bytes go."""
        return self._view[self._at : self._at + _STEP]

    def took(self, count: int) -> None:
        """Note that so many bytes were put there."""
        self._at += count

    def value(self) -> bytes:
        """Return it."""
        self._view.release()
        return self._file.getvalue()


class Answer:
    """Reads one answer with ``httptools``.

    Attributes:
        status: the status, once ``headed``.
        headers: by lower-case name; repeated ones are joined by a comma.
        headed: whether the head is complete.
        done: whether the body is, too.
        silent: whether no byte has come at all.
        reusable: whether the connection may carry another request; true only once ``done``.
        pieces: parts of the body that were not taken yet.
    """

    def __init__(self, *, streamed: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = self.done = self.reusable = False
        self.silent = True
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self._streamed = streamed
        self._size = 0
        self._keep_alive = self._to_the_end = False
        self._end: int | None = None
        self._length: int | None = None
        self._left = 0
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> None:
        """Read some bytes.

        Raises:
            Broken: when they are not HTTP, or too many.
        """
        self.silent = False
        if self._left:
            self._keep(data)
            return
        if self._parser is None:
            self.reusable = False
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as cause:
            self._keep_alive = False
            if not self.done:
                raise self._broken(cause) from cause
        if self.done:
            self._parser = None
            self.reusable = self._keep_alive
            del self.pieces[self._end :]
            return
        self._size += len(data)
        if not self.headed and self._size > MAX_HEAD:
            raise self._broken(ValueError(f"the head of an answer is longer than {MAX_HEAD} bytes"))
        if not self._streamed and self._size > MAX_BODY:
            raise self._broken(ValueError(f"an answer is longer than {MAX_BODY} bytes"))
        if self._length is not None:
            self._leave_parser(self._length)

    def end(self) -> None:
        """Note that the server hung up.

        Raises:
            Broken: when it did so in the middle.
        """
        if self.done:
            self.reusable = False
        elif self.headed and self._to_the_end:
            self.done, self._parser = True, None
        else:
            raise self._broken(EOFError("the server hung up in the middle of an answer"))

    def take(self) -> bytes:
        """Return what there is of the body."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def past_parser(self) -> Body | None:
        """Return where the rest of the body may go unread; ``None`` when it must be parsed.

        Only for an answer of which nothing was taken yet; call :meth:`complete` at the end.
        """
        return Body(self._length or 0, self.take()) if self._left else None

    def complete(self) -> None:
        """Note that all of the body came."""
        self._left = 0
        self.done, self.reusable = True, self._keep_alive

    def _leave_parser(self, length: int) -> None:
        """Count the rest of a body, which is faster than to parse it."""
        if not self._streamed and length > MAX_BODY:
            raise self._broken(ValueError(f"an answer is longer than {MAX_BODY} bytes"))
        self._left = length - sum(map(len, self.pieces))
        self._parser = None

    def _keep(self, data: bytes | memoryview) -> None:
        left = self._left
        if len(data) > left:
            self._keep_alive = False
            data = data[:left]
        self.pieces.append(bytes(data))
        self._left = left - len(data)
        if not self._left:
            self.complete()

    def _broken(self, cause: Exception) -> Broken:
        self._parser = None
        ours = any(isinstance(error, ValueError) for error in (cause, cause.__context__))
        return Unfit(cause) if ours else HungUp(cause)

    # -- what httptools calls ------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """Begin an answer; a second one was not asked for."""
        if self.done:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are left out."""
        if self.headed:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Look at what the head promises."""
        if self.done or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        coding = self.headers.get("transfer-encoding", "").lower()
        if coding not in ("", "chunked") or self.headers.get(
            "content-encoding", "identity"
        ) not in (
            "",
            "identity",
        ):
            raise ValueError("the answer is compressed")
        self.headed = True
        if not coding:
            length = self.headers.get("content-length")
            self._to_the_end = length is None
            self._length = None if length is None else int(length)
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """End the answer, or forget a preliminary one (1xx)."""
        if not self.headed:
            self.headers = {}
        elif not self.done:
            self.done, self._end = True, len(self.pieces)
