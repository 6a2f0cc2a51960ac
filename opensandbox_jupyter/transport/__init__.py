"""The only place that waits: one driver for ``await``, one for blocking calls.

For programs it has the names of OpenSandbox's own SDK that say when a request is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from opensandbox_jupyter.retry import JitterMode, RetryCause, RetryEvent, RetryPolicy

if TYPE_CHECKING:
    from opensandbox_jupyter.transport.retrying import RetryAsyncTransport, RetrySyncTransport

__all__ = [
    "JitterMode",
    "RetryAsyncTransport",
    "RetryCause",
    "RetryEvent",
    "RetryPolicy",
    "RetrySyncTransport",
    "unwrap_retry_transport",
]

T = TypeVar("T")


def unwrap_retry_transport(transport: T) -> T:
    """Return the transport inside a retrying one, for streams; any other one as it is."""
    from opensandbox_jupyter.transport.retrying import RetryAsyncTransport, RetrySyncTransport

    if isinstance(transport, RetryAsyncTransport | RetrySyncTransport):
        inner: Any = transport.inner
        return inner  # type: ignore[no-any-return]
    return transport


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from opensandbox_jupyter.transport import retrying  # loads httpx

    return getattr(retrying, name)
