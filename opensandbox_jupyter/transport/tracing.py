"""Spans of OpenTelemetry, for those who ask for them. OpenTelemetry is loaded only then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.wire.base import Call

__all__ = ["Tracer", "span", "tracer"]


class Tracer:
    """Makes spans.

    Raises:
        InvalidArgumentException: when ``opentelemetry`` is not installed.
    """

    def __init__(self) -> None:
        try:
            trace: Any = import_module("opentelemetry.trace")
        except ImportError as cause:
            raise InvalidArgumentException(
                "enable_tracing needs OpenTelemetry, which is not installed.",
                hint='pip install "opensandbox-jupyter[tracing]"',
                cause=cause,
            ) from cause
        self._trace = trace
        self._tracer = trace.get_tracer("opensandbox_jupyter")

    def span(self, call: Call) -> Span:
        """Return the span of one call: from the request to the end of the answer.

        It is a child of the current span and bears the operation's name. Paths and headers stay
        out of it: they may hold names of files and keys.
        """
        where = urlsplit(call.origin.base_url)
        attributes: dict[str, Any] = {
            "http.request.method": call.method,
            "server.address": where.hostname or "",
            "opensandbox.peer": "sandbox" if call.origin.is_sandbox else "server",
        }
        if where.port is not None:
            attributes["server.port"] = where.port
        kind = self._trace.SpanKind.CLIENT
        name = f"opensandbox.{call.name}"
        return Span(self._trace, self._tracer.start_span(name, kind=kind, attributes=attributes))

    def start(self, name: str, attributes: Mapping[str, str | int], *, begin: int) -> Any:
        """Return a span of something else, begun at a Unix time in ns; somebody must end it."""
        return self._tracer.start_span(name, start_time=begin, attributes=attributes)

    @contextmanager
    def within(self, parent: Any, name: str) -> Iterator[Any]:
        """Give a span within another one; it is the current one while the block runs."""
        inside = self._trace.set_span_in_context(parent)
        span = self._tracer.start_span(name, context=inside)
        quietly = {"record_exception": False, "set_status_on_exception": False}
        with self._trace.use_span(span, end_on_exit=True, **quietly):
            yield span

    def fail(self, span: Any) -> None:
        """Note that what a span tells of has failed."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))


class Span:
    """One span, open while the ``with`` block runs."""

    def __init__(self, trace: Any, span: Any) -> None:
        self._trace, self._span = trace, span

    def answered(self, status: int) -> None:
        """Note the status of the answer."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            self._failed(str(status))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, SandboxException):
            self._failed(type(error).__name__)
        self._span.end()

    def _failed(self, why: str) -> None:
        self._span.set_attribute("error.type", why)
        self._span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))


class _Untraced:
    """The span of those who do not ask."""

    def answered(self, status: int) -> None:
        pass

    def __enter__(self) -> _Untraced:
        return self

    def __exit__(self, *error: object) -> None:
        pass


_UNTRACED = _Untraced()


def tracer(enabled: bool) -> Tracer | None:
    """Return what makes spans, for those who want them. Raises: InvalidArgumentException."""
    return Tracer() if enabled else None


def span(tracer: Tracer | None, call: Call) -> Span | _Untraced:
    """Return the span of a call; those of polling are left out."""
    return _UNTRACED if tracer is None or call.once else tracer.span(call)
