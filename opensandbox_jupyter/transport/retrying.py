"""Transports for httpx that send again, for clients of your own and for ``ConnectionConfig``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from opensandbox_jupyter.retry import Attempts, RetryPolicy
from opensandbox_jupyter.transport._httpx import failure_of

if TYPE_CHECKING:
    from random import Random

__all__ = ["RetryAsyncTransport", "RetrySyncTransport"]


class RetryAsyncTransport(httpx.AsyncBaseTransport):
    """Sends requests again as a policy says.

    Args:
        inner: carries the requests.
        policy: how often, and after which pauses.
        owns_inner: whether closing this closes ``inner``.
        rng: chance, for tests.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        policy: RetryPolicy,
        *,
        owns_inner: bool = False,
        rng: Random | None = None,
    ) -> None:
        self._inner, self._policy, self._owns_inner = inner, policy, owns_inner
        self._uniform = None if rng is None else rng.uniform

    @property
    def inner(self) -> httpx.AsyncBaseTransport:
        """The wrapped transport, for streams."""
        return self._inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, again and again if need be."""
        attempts = _attempts(self._policy, request, self._uniform)
        given = request.extensions.get("timeout")
        while True:
            within = attempts.bound()
            _bound(request, given, within)
            try:
                sending = self._inner.handle_async_request(request)
                response = await asyncio.wait_for(sending, within)
            except (httpx.TransportError, asyncio.TimeoutError) as cause:
                error = _error(cause, request)
                pause = _after(attempts, error)
                if pause is None:
                    raise error from error.__cause__
            else:
                pause = attempts.after_answer(response.status_code, response.headers)
                if pause is None:
                    return response
                await response.aclose()
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Close the inner transport, if it is this one's own."""
        if self._owns_inner:
            await self._inner.aclose()


class RetrySyncTransport(httpx.BaseTransport):
    """The same for blocking clients."""

    def __init__(
        self,
        inner: httpx.BaseTransport,
        policy: RetryPolicy,
        *,
        owns_inner: bool = False,
        rng: Random | None = None,
    ) -> None:
        self._inner, self._policy, self._owns_inner = inner, policy, owns_inner
        self._uniform = None if rng is None else rng.uniform

    @property
    def inner(self) -> httpx.BaseTransport:
        """The wrapped transport, for streams."""
        return self._inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, again and again if need be."""
        attempts = _attempts(self._policy, request, self._uniform)
        given = request.extensions.get("timeout")
        while True:
            _bound(request, given, attempts.bound())
            try:
                response = self._inner.handle_request(request)
            except httpx.TransportError as error:
                pause = _after(attempts, error)
                if pause is None:
                    raise
            else:
                pause = attempts.after_answer(response.status_code, response.headers)
                if pause is None:
                    return response
                response.close()
            time.sleep(pause)

    def close(self) -> None:
        """Close the inner transport, if it is this one's own."""
        if self._owns_inner:
            self._inner.close()


def _attempts(
    policy: RetryPolicy, request: httpx.Request, uniform: Callable[[float, float], float] | None
) -> Attempts:
    shown = request.url.copy_with(query=None, userinfo=b"")
    replayable = isinstance(request.stream, httpx.ByteStream)
    return Attempts(policy, request.method, str(shown), replayable=replayable, uniform=uniform)


def _bound(
    request: httpx.Request, given: dict[str, float | None] | None, within: float | None
) -> None:
    if within is not None:
        phases = {"connect": None, "read": None, "write": None, "pool": None, **(given or {})}
        request.extensions["timeout"] = {
            name: within if most is None else min(most, within) for name, most in phases.items()
        }


def _error(cause: Exception, request: httpx.Request) -> httpx.TransportError:
    if isinstance(cause, httpx.TransportError):
        return cause
    error = httpx.ReadTimeout("the attempt took too long", request=request)
    error.__cause__ = cause
    return error


def _after(attempts: Attempts, error: httpx.TransportError) -> float | None:
    cause = failure_of(error).cause
    return None if cause is None else attempts.after_failure(cause, error)
