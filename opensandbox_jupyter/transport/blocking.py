"""The blocking driver: runs operations on a client, our own or one over httpx."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.transport._choice import (
    MAX_ERROR_BODY,
    TAIL_BOUND,
    attempts_of,
    censored,
    common_headers,
    describe,
    go_on,
    located,
    log_call,
    needs_httpx,
    pause_after,
    policy_of,
    refuse_other_kind,
)
from opensandbox_jupyter.transport.failures import Failure
from opensandbox_jupyter.transport.redirects import Trail
from opensandbox_jupyter.transport.tracing import span, tracer
from opensandbox_jupyter.transport.workers_blocking import claim
from opensandbox_jupyter.wire.base import Call, Effect, Operation, Reply, Sleep
from opensandbox_jupyter.wire.errors import api_error

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings
    from opensandbox_jupyter.transport.socket_blocking import Socket

__all__ = ["BlockingTransport", "Pieces"]

T = TypeVar("T")
Check = Callable[[], bool]
Pieces = Generator[T, None, None]

_CLEANUP_BOUND = 6.0


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def chunks(self) -> Iterator[bytes]: ...
    def whole(self, timeout: float) -> bytes | None: ...
    def finish(self, bound: float) -> None: ...
    def close(self) -> None: ...


class _Client(Protocol):
    def fetch(self, call: Call, within: float | None) -> Reply: ...
    def stream(self, call: Call) -> _Answer: ...
    def close(self) -> None: ...


class BlockingTransport:
    """Carries out what operations ask for, on the calling thread. May be shared by threads."""

    def __init__(self, settings: Settings, *, embedded: bool = False) -> None:
        self._client = _client(settings, embedded=embedded)
        self._timeout = settings.request_timeout.total_seconds()
        self._headers = common_headers(settings)
        self._embedded = embedded
        self._policy = policy_of(settings)
        self._follow = settings.follow_redirects
        self._tracer = tracer(settings.enable_tracing)

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
                    effect = go_on(operation, effect, answer, self._headers)
        except StopIteration as end:
            result: T = end.value
            return result

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """Send ``call`` and give the chunks of its answer as they come.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        with self._answer(call) as answer:
            yield answer.chunks()
            answer.finish(TAIL_BOUND)

    def read(self, call: Call) -> bytes:
        """Send ``call`` and return the body of its answer, however long, in one copy.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        with self._answer(call) as answer:
            body = answer.whole(self._timeout)
            if body is not None:
                return body
            content = BytesIO()  # gives its bytes away without a copy
            for chunk in answer.chunks():
                content.write(chunk)
            return content.getvalue()

    def connect(self, call: Call) -> Socket:
        """Open a WebSocket. It does not go through a transport given by the user.

        Raises:
            SandboxApiException: when the server refuses it.
        """
        from opensandbox_jupyter.transport.socket_blocking import open_socket

        log_call(call)
        return open_socket(call, self._headers, self._timeout, embedded=self._embedded)

    def insist(self, operation: Operation[Any]) -> None:
        """Run a clean-up; silent when it fails."""
        with suppress(SandboxException):
            self.run(operation)

    def secure(self, operation: Operation[T], undo: Callable[[T], Operation[Any]]) -> T:
        """Run an operation whose result must not be lost.

        Who is interrupted meanwhile still waits a little for the result, which is then undone.
        """
        return claim(
            lambda: self.run(operation),
            lambda result: self.insist(undo(result)),
            patience=_CLEANUP_BOUND,
        )

    def tell(self, handler: Callable[..., Any] | None, *news: object) -> Any:
        """Call a user's function, and return what it says.

        Raises:
            InvalidArgumentException: when it is async.
        """
        answer = None if handler is None else handler(*news)
        if inspect.iscoroutine(answer):
            answer.close()
            raise InvalidArgumentException(
                "The blocking SDK cannot await an async handler.",
                hint="Pass plain functions, or use Sandbox instead of SandboxSync.",
            )
        return answer

    def give(self, pieces: Generator[T, None, None]) -> Pieces[T]:
        """Return what a caller iterates over."""
        return pieces

    def pause(self, seconds: float) -> None:
        """Wait so many seconds."""
        time.sleep(seconds)

    def offload(self, function: Callable[[], T]) -> T:
        """Run a function; here it may simply block."""
        return function()

    def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        self._client.close()

    @contextmanager
    def _answer(self, call: Call) -> Iterator[_Answer]:
        """Send ``call`` and give its answer, which is a success."""
        headers: Mapping[str, str] = {}
        with span(self._tracer, call) as traced:
            try:
                answer = self._open(call)
                headers = answer.headers
                traced.answered(answer.status)
                try:
                    if answer.status not in (200, 206):
                        body = _head(answer)
                        reply = Reply(answer.status, answer.headers, body)
                        raise api_error(call, censored(reply, self._headers))
                    refuse_other_kind(call, answer.headers)
                    yield answer
                except SandboxException as error:
                    describe(error, call, headers)
                    raise
                finally:
                    answer.close()
            except Failure as failure:
                raise located(failure, call, headers or failure.headers) from failure.reason

    def _open(self, call: Call) -> _Answer:
        """Begin a stream, which is never asked for twice."""
        trail = Trail(follow=self._follow)
        while True:
            log_call(call)
            answer = self._client.stream(call)
            onward = trail.onward(call, answer.status, answer.headers)
            if onward is None:
                return answer
            answer.close()
            call = onward

    def _fetch(self, call: Call) -> Reply:
        with span(self._tracer, call) as traced:
            trail = Trail(follow=self._follow)
            while True:
                reply = self._insistent(call)
                onward = trail.onward(call, reply.status, reply.headers)
                if onward is None:
                    traced.answered(reply.status)
                    return reply if reply.status < 300 else censored(reply, self._headers)
                call = onward

    def _insistent(self, call: Call) -> Reply:
        """Send ``call``, again and again as far as the policy goes."""
        attempts = attempts_of(self._policy, call)
        while True:
            log_call(call)
            within = None if attempts is None else attempts.bound()
            try:
                reply = self._client.fetch(call, within)
            except Failure as failure:
                pause = pause_after(attempts, failure, embedded=self._embedded)
                if pause is None:
                    raise located(failure, call, failure.headers) from failure.reason
            else:
                if attempts is None:
                    return reply
                pause = attempts.after_answer(reply.status, reply.headers)
                if pause is None:
                    return reply
            time.sleep(pause)

    def _perform(self, effect: Effect, check: Check | None) -> object:
        if isinstance(effect, Call):
            return self._fetch(effect)
        if isinstance(effect, Sleep):
            time.sleep(effect.seconds)
            return None
        return self.tell(check) if check is not None else True


def _head(answer: _Answer) -> bytes:
    body = b""
    for chunk in answer.chunks():
        body += chunk
        if len(body) >= MAX_ERROR_BODY:
            break
    return body[:MAX_ERROR_BODY]


def _client(settings: Settings, *, embedded: bool) -> _Client:
    headers = common_headers(settings)
    if needs_httpx(settings, embedded=embedded):
        from opensandbox_jupyter.transport import httpx_blocking

        return httpx_blocking.Client(settings, headers)
    from opensandbox_jupyter.transport import native

    return native.Client(headers, settings.request_timeout.total_seconds())
