"""One connection from a sandbox to its proxy: requests one after the other, or one tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import h11

from opensandbox_jupyter.egress.hello import UNRECOGNIZED_NAME, Misnamed, first_words
from opensandbox_jupyter.egress.injection import MOST_BODY, Injection
from opensandbox_jupyter.egress.judge import Refused
from opensandbox_jupyter.egress.policy import Destination
from opensandbox_jupyter.egress.targets import Target, end_to_end, read_inner_target, read_target
from opensandbox_jupyter.egress.tls import decrypted

if TYPE_CHECKING:
    from opensandbox_jupyter.egress.proxy import Flow, Keeper, Proxy

__all__ = ["BUFFER", "Connection", "refusal"]

BUFFER = 64 << 10
"""From twice as much on, nothing more is read before the other end has taken it."""
_BLOCK = 256 << 10
_HEAD_BYTES = 64 << 10
_MOST_HEADERS = 100
_HEAD_SECONDS = 10.0
_IDLE_SECONDS = 60.0
_ANSWER_SECONDS = 300.0
_HALF_OPEN_SECONDS = 120.0
_LAST_WORDS_SECONDS = 10.0
_STATUS = {
    400: "Bad Request", 403: "Forbidden", 413: "Content Too Large",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def refusal(refused: Refused, *, has_body: bool = True) -> bytes:
    """Return an answer that says why, in the status line too: some programs show only that."""
    sentence = " ".join(refused.sentence.split())
    text = f"{sentence}\n".encode("ascii", "backslashreplace")
    reason = f"{_STATUS.get(refused.status, 'Refused')}: {sentence}"
    head = (
        f"HTTP/1.1 {refused.status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(text)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii", "backslashreplace") + (text if has_body else b"")


class Connection:
    """Reads requests, has each of them judged, and carries the bytes of those that may pass."""

    scheme = "http"

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._is_answering = False

    async def run(self) -> None:
        """Serve until either end hangs up.

        Raises:
            OSError: somebody hung up in the middle.
            asyncio.TimeoutError: somebody was too slow.
        """
        limit = _HEAD_SECONDS
        goes_on = True
        while goes_on:
            method = b""
            try:
                request = await asyncio.wait_for(self._request(), limit)
                if request is None:
                    return
                method = request.method
                goes_on = await self._serve(request)
            except Refused as refused:
                if not self._is_answering:
                    await self._say(refusal(refused, has_body=method != b"HEAD"))
                return
            limit = _IDLE_SECONDS

    async def _request(self) -> h11.Request | None:
        """Return the next request, ``None`` when there is none."""
        event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        if len(event.headers) > _MOST_HEADERS:
            raise Refused(431, "The request has too many headers.")
        return event

    async def _event(self) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                status = 431 if error.error_status_hint == 431 else 400
                raise Refused(status, f"The request is not understood: {error}.") from error
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self._writer.write(self._http.send(go) or b"")
            self._http.receive_data(await self._reader.read(_HEAD_BYTES))

    async def _serve(self, request: h11.Request) -> bool:
        """Answer one request; return whether there may be another one."""
        target = read_target(request)
        keeper = self._proxy.keeper
        if target.path is None and keeper is not None and _is_kept(keeper, target.destination):
            await self._end_tunnel(keeper, target.destination)
            return False
        flow = await self._proxy.open(target.destination, self._writer)
        try:
            if target.path is None:
                await self._tunnel(flow)
                return False
            return await self._pass_on(request, target, flow)
        finally:
            self._proxy.done(flow)

    async def _end_tunnel(self, keeper: Keeper, destination: Destination) -> None:
        """Be the server that a tunnel leads to, and ask the real one with credentials."""
        await self._proxy.check(destination)
        early, _ = self._http.trailing_data
        self._is_answering = True
        self._writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            hello = await first_words(self._reader, early, destination)
        except Misnamed:
            await self._say(UNRECOGNIZED_NAME)
            return
        context = keeper.authority.context_for(destination.host)
        async with decrypted(self._reader, self._writer, hello, context) as (reader, writer):
            await _Inner(self._proxy, keeper, destination, reader, writer).run()

    async def _tunnel(self, flow: Flow) -> None:
        early, _ = self._http.trailing_data
        self._is_answering = True
        self._writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _both(
            asyncio.ensure_future(self._pump_up(early, flow)),
            asyncio.ensure_future(_pump(flow.reader, self._writer)),
        )
        await _flush((self._writer, flow.writer))

    async def _pump_up(self, early: bytes, flow: Flow) -> None:
        try:
            flow.writer.write(await first_words(self._reader, early, flow.destination))
        except Misnamed:
            self._writer.write(UNRECOGNIZED_NAME)
            raise
        await _pump(self._reader, flow.writer)

    async def _pass_on(self, request: h11.Request, target: Target, flow: Flow) -> bool:
        assert target.path is not None
        outside = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        headers = [pair for pair in end_to_end(request.headers) if pair[0] != b"host"]
        path, body = target.path, None
        injection = self._injection(request, target)
        if injection is not None:
            path, headers = injection.path(path), injection.headers(headers)
            if injection.changes_body:
                body = injection.body(await self._whole_body())
                headers = [pair for pair in headers if pair[0] != b"content-length"]
                headers.append((b"content-length", str(len(body)).encode()))
        if body is None and any(name == b"transfer-encoding" for name, _ in request.headers):
            headers.append((b"transfer-encoding", b"chunked"))
        headers = [(b"host", target.host), *headers, (b"connection", b"close")]
        asked = h11.Request(method=request.method, target=path, headers=headers)
        flow.writer.write(outside.send(asked) or b"")
        asking = asyncio.ensure_future(self._ask(outside, flow, body))
        try:
            await self._answer(outside, flow)
        except (h11.ProtocolError, ConnectionError) as error:
            raise Refused(502, f"Nothing useful came from {target.host.decode()}.") from error
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asking
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._is_answering = False
            self._http.start_next_cycle()
            return True
        await _flush((self._writer,))
        return False

    def _injection(self, request: h11.Request, target: Target) -> Injection | None:
        """Return what a credential changes in a request, if one is meant for it."""
        keeper, destination = self._proxy.keeper, target.destination
        if keeper is None or not isinstance(destination.host, str):
            return None
        path = (target.path or "").partition("?")[0]
        method = request.method.decode("ascii").upper()
        place = (self.scheme, destination.host, destination.port)
        binding = keeper.vault.find(*place, method, path)
        return None if binding is None else Injection(keeper.vault, binding)

    async def _whole_body(self) -> bytes:
        """Return a request's body, which must not be large. Raises: Refused 413."""
        body = b""
        while True:
            event = await asyncio.wait_for(self._event(), _IDLE_SECONDS)
            if not isinstance(event, h11.Data):
                return body
            body += event.data
            if len(body) > MOST_BODY:
                raise Refused(413, "A body in which a credential is put is at most 1 MiB long.")

    async def _ask(self, outside: h11.Connection, flow: Flow, body: bytes | None = None) -> None:
        """Pass the request's body on. Whatever goes wrong with it cuts the connection."""
        try:
            if body is not None:
                flow.writer.write(outside.send(h11.Data(data=body)) or b"")
                flow.writer.write(outside.send(h11.EndOfMessage()) or b"")
                return
            while True:
                event = await asyncio.wait_for(self._event(), _IDLE_SECONDS)
                if isinstance(event, h11.Data):
                    flow.writer.write(outside.send(h11.Data(data=bytes(event.data))) or b"")
                    await flow.writer.drain()
                elif isinstance(event, h11.EndOfMessage):
                    flow.writer.write(outside.send(h11.EndOfMessage()) or b"")
                    return
                else:
                    flow.abort()
                    return
        except (Refused, OSError, asyncio.TimeoutError, h11.LocalProtocolError):
            if not flow.writer.is_closing() and self._http.their_state is not h11.DONE:
                flow.abort()

    async def _answer(self, outside: h11.Connection, flow: Flow) -> None:
        while True:
            event = outside.next_event()
            if event is h11.NEED_DATA:
                data = await asyncio.wait_for(flow.reader.read(_BLOCK), _ANSWER_SECONDS)
                outside.receive_data(data)
                continue
            if isinstance(event, h11.Response):
                self._is_answering = True
                self._send(_answer_to_pass_on(event))
            elif isinstance(event, h11.Data):
                self._send(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                self._send(h11.EndOfMessage())
                return
            elif not isinstance(event, h11.InformationalResponse):
                raise ConnectionResetError("it hung up")
            await asyncio.wait_for(self._writer.drain(), _ANSWER_SECONDS)

    def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _say(self, answer: bytes) -> None:
        """Send the last words of a connection, which the other end shall get to read."""
        self._writer.write(answer)
        await _flush((self._writer,))


class _Inner(Connection):
    """Requests inside a tunnel that ends here; all of them are for its one destination."""

    scheme = "https"

    def __init__(
        self,
        proxy: Proxy,
        keeper: Keeper,
        destination: Destination,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(proxy, reader, writer)
        self._keeper = keeper
        self._destination = destination

    async def _serve(self, request: h11.Request) -> bool:
        target = read_inner_target(request, self._destination)
        flow = await self._proxy.open(self._destination, self._writer, self._keeper.upstream)
        try:
            return await self._pass_on(request, target, flow)
        finally:
            self._proxy.done(flow)


def _is_kept(keeper: Keeper, destination: Destination) -> bool:
    host = destination.host
    return isinstance(host, str) and keeper.vault.leads_to("https", host, destination.port)


def _answer_to_pass_on(event: h11.Response) -> h11.Response:
    headers = end_to_end(event.headers)
    if any(name == b"transfer-encoding" for name, _ in event.headers):
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    return h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _both(*pumps: asyncio.Future[None]) -> None:
    """Wait for both directions; once one has ended, the other may go on for a while."""
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if all(pump.exception() is None for pump in done):
            await asyncio.wait(pumps, timeout=_HALF_OPEN_SECONDS)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _flush(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close when all is sent, but do not wait for ever for one that does not read."""
    for writer in writers:
        writer.close()
    for writer in writers:
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), _LAST_WORDS_SECONDS)
