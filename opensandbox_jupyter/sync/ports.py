"""Waiting for a server that runs inside a sandbox.

Generated from ``ports.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from datetime import timedelta

from opensandbox_jupyter.exceptions import (
    SandboxApiException,
    SandboxException,
    SandboxReadyTimeoutException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.readiness import Patience

__all__ = ["wait_for_port"]

_INTERVAL = timedelta(milliseconds=200)
_ANSWER = 5.0


def wait_for_port(
    connection: ConnectionSync, sandbox: Origin, port: int, timeout: timedelta
) -> None:
    """Wait until a server in the sandbox answers a request to ``port``; any answer is one.

    Raises:
        SandboxReadyTimeoutException: when none does within ``timeout``.
    """
    patience = Patience(timeout, _INTERVAL)
    while True:
        call = connection.protocol.knock(sandbox, port, min(_ANSWER, patience.budget))
        try:
            with connection.transport.stream(call):
                return
        except SandboxTimeoutException as error:
            last: SandboxException = error
        except SandboxApiException as error:
            if not connection.protocol.nobody_answered(error):
                return
            last = error
        pause = patience.next_pause()
        if pause is None:
            raise SandboxReadyTimeoutException(
                f"Nothing answered on port {port} of the sandbox within {patience.budget:g} s.",
                cause=last,
                hint="Does the server listen on 127.0.0.1 or 0.0.0.0 inside, and on this port?",
            ) from last
        connection.transport.pause(pause.seconds)
