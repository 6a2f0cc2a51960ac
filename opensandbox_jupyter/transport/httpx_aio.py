"""The async client over httpx, for a transport of the user's own and for proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from opensandbox_jupyter.transport import unwrap_retry_transport
from opensandbox_jupyter.transport._httpx import (
    Whole,
    client_options,
    drip_bound,
    failures,
    hooks,
    keep_ours,
    named_proxies,
    refuse_coding,
    request_arguments,
    stream_timeout,
)
from opensandbox_jupyter.transport.failures import Failure
from opensandbox_jupyter.transport.request import Upload
from opensandbox_jupyter.wire.base import Call, Reply

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings

__all__ = ["Client"]


class Stream:
    """An answer that is read while it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._chunks = response.aiter_bytes()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""
        with failures():
            async for chunk in self._chunks:
                yield chunk

    async def whole(self, timeout: float) -> None:
        """Refuse to: httpx gives pieces only."""

    async def finish(self, bound: float) -> None:
        """Read the answer's end if it is about to come, so that the connection can go on."""
        with suppress(httpx.HTTPError, httpx.StreamError, asyncio.TimeoutError):
            await asyncio.wait_for(anext(self._chunks, None), bound)

    async def close(self) -> None:
        """Give the connection back."""
        await self._response.aclose()


class Client:
    """Sends requests and reads answers through an ``httpx.AsyncClient``."""

    def __init__(self, settings: Settings, headers: Mapping[str, str]) -> None:
        options = client_options(settings, headers)
        options["event_hooks"] = hooks(settings, _keep_ours)
        with named_proxies():
            self._client = self._streams = httpx.AsyncClient(**options)
        plain = unwrap_retry_transport(settings.transport)
        if plain is not settings.transport:
            self._streams = httpx.AsyncClient(**{**options, "transport": plain})
        self._drip_bound = drip_bound(settings)
        self._owns_client = settings.transport is None or settings.owns_transport

    async def fetch(self, call: Call) -> Reply:
        """Send ``call`` and return its whole answer."""
        with failures():
            request = self._client.build_request(**request_arguments(call, _body))
            response = await self._client.send(request, stream=True)
            try:
                refuse_coding(response.headers)
                body = Whole(self._drip_bound)
                async for chunk in response.aiter_bytes():
                    body.take(chunk)
            except Failure as failure:
                failure.headers = response.headers
                raise
            finally:
                await response.aclose()
            return Reply(response.status_code, response.headers, body.value())

    async def stream(self, call: Call) -> Stream:
        """Send ``call`` and return its answer as soon as its head has come."""
        with failures():
            request = self._streams.build_request(
                **request_arguments(call, _body), timeout=stream_timeout(self._streams, call)
            )
            stream = Stream(await self._streams.send(request, stream=True))
        try:
            refuse_coding(stream.headers)
        except Failure as failure:
            failure.headers = stream.headers
            await stream.close()
            raise
        return stream

    async def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        if self._owns_client:
            await self._client.aclose()


async def _keep_ours(request: httpx.Request) -> None:
    keep_ours(request)


async def _body(upload: Upload) -> AsyncIterator[bytes]:
    for piece in upload.pieces():
        if isinstance(piece, bytes | memoryview):
            yield bytes(piece)
        else:
            async for chunk in piece:
                yield chunk
