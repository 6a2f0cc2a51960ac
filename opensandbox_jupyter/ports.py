"""Waiting for a server that runs inside a sandbox."""

from __future__ import annotations

from datetime import timedelta

from opensandbox_jupyter.commands import Commands
from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.exceptions import (
    SandboxApiException,
    SandboxException,
    SandboxReadyTimeoutException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.readiness import Patience

__all__ = ["wait_for_port"]

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING = "0A"
_WITHIN_REACH = (
    "0" * 8,
    "0100007F",
    "0" * 32,
    "0" * 24 + "01000000",
    "0" * 16 + "FFFF00000100007F",
)
_INTERVAL = timedelta(milliseconds=200)
_ANSWER = 5.0


async def wait_for_port(
    connection: Connection, sandbox: Origin, port: int, timeout: Duration
) -> None:
    """Wait until a server in the sandbox answers on ``port``; see ``Sandbox.wait_for_port``.

    Raises:
        SandboxReadyTimeoutException: when none does within ``timeout``.
    """
    patience = Patience(timeout, _INTERVAL)
    while True:
        call = connection.protocol.knock(sandbox, port, min(_ANSWER, patience.budget))
        try:
            async with connection.transport.stream(call):
                return
        except SandboxTimeoutException as error:
            last: SandboxException = error
        except SandboxApiException as error:
            if not connection.protocol.nobody_answered(error):
                return
            if await _listens(connection, sandbox, port):
                return  # and speaks something else than HTTP
            last = error
        pause = patience.next_pause()
        if pause is None:
            raise SandboxReadyTimeoutException(
                f"Nothing answered on port {port} of the sandbox within {patience.budget:g} s.",
                cause=last,
                hint="Does the server listen on 127.0.0.1 or 0.0.0.0 inside, and on this port?",
            ) from last
        await connection.transport.pause(pause.seconds)


async def _listens(connection: Connection, sandbox: Origin, port: int) -> bool:
    """Return whether something listens on the port, by the word of the sandbox's kernel."""
    try:
        tables = await Commands(connection, sandbox).run(["cat", *_TABLES])
    except SandboxException:
        return False
    return listening(tables.stdout, port)


def listening(tables: str, port: int) -> bool:
    """Return whether a loopback connection to ``port`` is taken, by Linux's tables of sockets."""
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENING:
            address, _, number = fields[1].partition(":")
            if number == f"{port:04X}" and address in _WITHIN_REACH:
                return True
    return False
