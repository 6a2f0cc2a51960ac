"""The blocking client over httpx, for a transport of the user's own and for proxies."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping
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
from opensandbox_jupyter.transport.request import Upload, at_hand
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
        self._chunks = response.iter_bytes()

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes."""
        with failures():
            yield from self._chunks

    def whole(self, timeout: float) -> None:
        """Refuse to: httpx gives pieces only."""

    def finish(self, bound: float) -> None:
        """Read the answer's end if it is about to come, so that the connection can go on.

        httpx fixes the time limit when a stream begins, so the bound is set on the socket itself.
        """
        stream = self._response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if not isinstance(sock, socket.socket):
            return
        limit = struct.pack("@ll", 0, int(bound * 1e6))
        with suppress(httpx.HTTPError, httpx.StreamError, OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            next(self._chunks, None)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 0))

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


class Client:
    """Sends requests and reads answers through an ``httpx.Client``."""

    def __init__(self, settings: Settings, headers: Mapping[str, str]) -> None:
        options = client_options(settings, headers)
        options["event_hooks"] = hooks(settings, keep_ours)
        with named_proxies():
            self._client = self._streams = httpx.Client(**options)
        plain = unwrap_retry_transport(settings.transport)
        if plain is not settings.transport:
            self._streams = httpx.Client(**{**options, "transport": plain})
        self._drip_bound = drip_bound(settings)
        self._owns_client = settings.transport is None or settings.owns_transport

    def fetch(self, call: Call, within: float | None = None) -> Reply:
        """Send ``call`` and return its whole answer, ``within`` so many seconds."""
        with failures():
            request = self._client.build_request(**request_arguments(call, _body))
            began = time.monotonic()
            if within is not None:
                phases = request.extensions["timeout"]
                request.extensions["timeout"] = {name: min(phases[name], within) for name in phases}
            response = self._client.send(request, stream=True)
            try:
                refuse_coding(response.headers)
                left = self._drip_bound if within is None else within + began - time.monotonic()
                body = Whole(left)
                for chunk in response.iter_bytes():
                    body.take(chunk)
            except Failure as failure:
                failure.headers = response.headers
                raise
            finally:
                response.close()
            return Reply(response.status_code, response.headers, body.value())

    def stream(self, call: Call) -> Stream:
        """Send ``call`` and return its answer as soon as its head has come."""
        with failures():
            request = self._streams.build_request(
                **request_arguments(call, _body), timeout=stream_timeout(self._streams, call)
            )
            stream = Stream(self._streams.send(request, stream=True))
        try:
            refuse_coding(stream.headers)
        except Failure as failure:
            failure.headers = stream.headers
            stream.close()
            raise
        return stream

    def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        if self._owns_client:
            self._client.close()


def _body(upload: Upload) -> Iterator[bytes]:
    for piece in upload.pieces():
        yield bytes(at_hand(piece))
