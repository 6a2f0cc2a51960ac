"""Spans of OpenTelemetry that tell of each warm-up, for those who ask for them. Of no colour.

Names and attributes are those of OpenSandbox's own SDK. What an error says stays out of them, as
it stays out of the spans of calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import PoolNotRunningException

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.transport.tracing import Tracer

__all__ = ["Checks", "WarmUp"]

_NAME = "pool.warmup"
_OF_HOOKS = {"readiness", "prepare", "post_prepare_readiness"}


class Checks:
    """How the health checks of one phase went."""

    def __init__(self) -> None:
        self.attempts = self.refusals = self.errors = 0

    def attributes(self) -> dict[str, int]:
        """Return what a span tells of them."""
        if not self.attempts:
            return {}
        return {
            "warmup.health.attempt_count": self.attempts,
            "warmup.health.false_count": self.refusals,
            "warmup.health.exception_count": self.errors,
        }


class WarmUp:
    """One warm-up: a span while the ``with`` block runs, and within it one for each phase.

    Args:
        tracer: what makes spans; none are made without it.
        attributes: what is known of the pool and of the sandbox to be.
        begin: when it was decided, Unix time in ns.
    """

    def __init__(
        self, tracer: Tracer | None, attributes: Mapping[str, str | int], begin: int
    ) -> None:
        self._tracer = tracer
        self._root = tracer.start(_NAME, attributes, begin=begin) if tracer else None
        self._stage = "create"
        self._dropped: str | None = None

    def is_of(self, sandbox_id: str) -> None:
        """Say which sandbox it is."""
        if self._root:
            self._root.set_attribute("sandbox.id", sandbox_id)

    def drop(self, reason: str) -> None:
        """Say why the sandbox is not wanted any more."""
        self._dropped = reason

    @contextmanager
    def phase(self, stage: str) -> Iterator[Checks]:
        """Tell of one phase; health checks within it are to be counted."""
        self._stage, checks = stage, Checks()
        if self._tracer is None:
            yield checks
            return
        with self._tracer.within(self._root, f"{_NAME}.{stage}") as span:
            told = {"warmup.result": "success"}
            try:
                yield checks
            except BaseException as error:
                told = {"warmup.result": "failure", "warmup.error.type": type(error).__qualname__}
                self._tracer.fail(span)
                raise
            finally:
                span.set_attributes(told | checks.attributes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tracer is None or self._root is None:
            return
        attributes = {"warmup.stage": self._stage, **_end(error, self._stage, self._dropped)}
        self._root.set_attributes(attributes)
        if error is not None:
            self._tracer.fail(self._root)
        self._root.end()


def _end(error: BaseException | None, stage: str, dropped: str | None) -> dict[str, str]:
    """Return how a warm-up ended."""
    if error is None:
        return {"warmup.result": "success"}
    if dropped is not None:
        return {"warmup.result": "dropped", "warmup.reason": dropped}
    if isinstance(error, PoolNotRunningException) or not isinstance(error, Exception):
        return {"warmup.result": "cancelled", "warmup.reason": "cancelled"}
    return {
        "warmup.result": "failure",
        "warmup.reason": f"{stage}_failed",
        "warmup.error.type": type(error).__qualname__,
        "warmup.error.category": _category(error, stage),
    }


def _category(error: Exception, stage: str) -> str:
    name = type(error).__qualname__.lower()
    if "timeout" in name:
        return "timeout"
    if "connect" in name or "network" in name or type(error).__module__.startswith("httpx"):
        return "connection"
    if "state" in name or stage == "commit":
        return "state_store"
    return "callback" if stage in _OF_HOOKS else "unclassified"
