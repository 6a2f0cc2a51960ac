"""The blocking driver: runs operations on an ``httpx.Client``."""

from __future__ import annotations

import inspect
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.transport._http import (
    MAX_ERROR_BODY,
    TAIL_BOUND,
    client_options,
    errors_of,
    reply_of,
    request_arguments,
    without_read_timeout,
)
from opensandbox_jupyter.wire.base import Call, Effect, Operation, Reply, Sleep
from opensandbox_jupyter.wire.errors import api_error

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfigSync

__all__ = ["BlockingTransport"]

T = TypeVar("T")
Check = Callable[[], bool]


class BlockingTransport:
    """Carries out what operations ask for, on the calling thread. May be shared by threads."""

    def __init__(self, config: ConnectionConfigSync, *, embedded: bool = False) -> None:
        self._client = httpx.Client(**client_options(config, embedded=embedded))
        self._owns_client = config.transport is None

    def run(self, operation: Operation[T], check: Check | None = None) -> T:
        """Run ``operation`` to its end and return its result.

        An error of a step, a KeyboardInterrupt included, is raised inside the operation, which may
        still clean up behind itself.
        """
        try:
            effect = next(operation)
            while True:
                try:
                    answer = self._perform(effect, check)
                except BaseException as error:
                    effect = operation.throw(error)
                else:
                    effect = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """Send ``call`` and give the chunks of its answer as they come.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        with errors_of(call):
            request = self._client.build_request(
                **request_arguments(call), timeout=without_read_timeout(self._client)
            )
            response = self._client.send(request, stream=True)
            try:
                if response.status_code not in (200, 206):
                    body = _head(response)
                    raise api_error(call, Reply(response.status_code, response.headers, body))
                chunks = response.iter_bytes()
                yield chunks
                _finish(response, chunks)
            finally:
                response.close()

    def insist(self, operation: Operation[Any]) -> None:
        """Run a clean-up; silent when it fails."""
        with suppress(SandboxException):
            self.run(operation)

    def tell(self, handler: Callable[[Any], Any] | None, news: object) -> None:
        """Call a user's handler.

        Raises:
            InvalidArgumentException: when the handler is async.
        """
        if handler is None:
            return
        answer = handler(news)
        if inspect.iscoroutine(answer):
            answer.close()
            raise InvalidArgumentException(
                "The blocking SDK cannot await an async handler.",
                hint="Pass plain functions, or use Sandbox instead of SandboxSync.",
            )

    def offload(self, function: Callable[[], T]) -> T:
        """Run a function; here it may simply block."""
        return function()

    def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        if self._owns_client:
            self._client.close()

    def _perform(self, effect: Effect, check: Check | None) -> object:
        if isinstance(effect, Call):
            with errors_of(effect):
                request = self._client.build_request(**request_arguments(effect))
                return reply_of(self._client.send(request))
        if isinstance(effect, Sleep):
            time.sleep(effect.seconds)
            return None
        return check() if check is not None else True


def _head(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) >= MAX_ERROR_BODY:
            break
    return body[:MAX_ERROR_BODY]


def _finish(response: httpx.Response, chunks: Iterator[bytes]) -> None:
    """Read an answer's end if it is about to come, so that the connection can be used again.

    httpx fixes the time limit when a stream begins, so the bound is set on the socket itself.
    """
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if not isinstance(sock, socket.socket):
        return
    bound = struct.pack("@ll", 0, int(TAIL_BOUND * 1e6))
    with suppress(httpx.HTTPError, httpx.StreamError, OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        next(chunks, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 0))
