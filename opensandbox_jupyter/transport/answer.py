"""Answers as they come. Sans-IO: bytes in, status, headers and body out."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from opensandbox_jupyter.transport.failures import Broken

__all__ = ["Answer"]

MAX_HEAD = 64 * 1024
"""The longest head of an answer that is read, in bytes."""

MAX_BODY = 1024 * 1024 * 1024
"""The longest body that is kept whole in memory, in bytes; streams are not bounded."""


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
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> None:
        """Read some bytes.

        Raises:
            Broken: when they are not HTTP, or too many.
        """
        self.silent = False
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

    def _broken(self, cause: Exception) -> Broken:
        self._parser = None
        return Broken(cause)

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
        self._to_the_end = not coding and "content-length" not in self.headers
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """End the answer, or forget a preliminary one (1xx)."""
        if not self.headed:
            self.headers = {}
        elif not self.done:
            self.done, self._end = True, len(self.pieces)
