"""What is done when the connection breaks in the middle of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.exceptions import (
    ExecutionDisconnected,
    InvalidArgumentException,
    SandboxApiException,
    SandboxException,
)
from opensandbox_jupyter.models.execution import Execution
from opensandbox_jupyter.wire.base import Call, Origin
from opensandbox_jupyter.wire.readiness import Patience

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import CommandStatus

__all__ = ["Lifeline", "OnDisconnect"]

OnDisconnect = Literal["leave", "interrupt", "reattach"]

_WISHES = ("leave", "interrupt", "reattach")
_ABSENCE = 30.0
_LOOK = 1.0
_INTERVAL = 0.5


class Lifeline:
    """Asks after a command whose stream was cut, and does with it what the caller wished.

    Raises:
        InvalidArgumentException: when ``wish`` is none of the three.
    """

    def __init__(self, connection: Connection, at: Origin, wish: OnDisconnect) -> None:
        if wish not in _WISHES:
            raise InvalidArgumentException(
                f"on_disconnect cannot be {wish!r}.", hint=f"One of {', '.join(_WISHES)}."
            )
        self._connection = connection
        self._at = at
        self._wish = wish
        self._received = -1
        self._patience = Patience(_ABSENCE, _INTERVAL)

    def prepared(self, call: Call) -> Call:
        """Return ``call`` as one that can be gone on with, if that is wished."""
        if self._wish != "reattach":
            return call
        return self._connection.protocol.when_left(call, "hold")

    async def recover(self, execution: Execution, received: int, failure: SandboxException) -> Call:
        """Return the call that goes on behind the first ``received`` bytes of the answer.

        Raises:
            ExecutionDisconnected: when it cannot, or shall not, be gone on.
        """
        execution_id = execution.id
        if execution_id is None:
            raise _error(execution, None, failure)
        if self._wish == "reattach":
            if not isinstance(failure, SandboxApiException) and await self._may_try(received):
                return self._connection.protocol.reattach(self._at, execution_id, received)
            raise _error(execution, await self._ended(execution_id), failure)
        if self._wish == "interrupt":
            operation = self._connection.protocol.interrupt(self._at, execution_id)
            await self._connection.transport.insist(operation)
        raise _error(execution, await self._status(execution_id, _LOOK), failure)

    async def _may_try(self, received: int) -> bool:
        """Wait a little; return whether there is hope, as there is for a while after each byte."""
        if received > self._received:
            self._received, self._patience = received, Patience(_ABSENCE, _INTERVAL)
        pause = self._patience.next_pause()
        if pause is not None:
            await self._connection.transport.pause(pause.seconds)
        return pause is not None

    async def _ended(self, execution_id: str) -> CommandStatus | None:
        """Wait for the end of a command whose output can be had no more."""
        while True:
            status = await self._status(execution_id, _ABSENCE)
            if status is None or not status.running:
                return status
            await self._connection.transport.pause(_INTERVAL)

    async def _status(self, execution_id: str, budget: float) -> CommandStatus | None:
        """Return how a command fares, ``None`` when nobody says so within ``budget`` seconds."""
        patience = Patience(budget, _INTERVAL)
        while True:
            try:
                operation = self._connection.protocol.command_status(self._at, execution_id)
                return await self._connection.transport.run(operation)
            except SandboxApiException:
                return None
            except SandboxException:
                pause = patience.next_pause()
            if pause is None:
                return None
            await self._connection.transport.pause(pause.seconds)


def _error(
    execution: Execution, status: CommandStatus | None, failure: SandboxException
) -> ExecutionDisconnected:
    begin = f"The connection to the sandbox broke in the middle of the command {execution.id}"
    if status is None:
        message = f"{begin}; what became of it is not known."
        hint = "The sandbox may have been killed or have expired: look at get_info()."
    elif status.running:
        message = f"{begin}, which still runs."
        hint = (
            "interrupt(execution_id) ends it, and get_command_status(execution_id) asks after it. "
            "Do not run it again before that."
        )
    else:
        message = f"{begin}, which has ended with exit code {status.exit_code}."
        hint = 'The rest of its output is lost; on_disconnect="reattach" keeps it where it can.'
    return ExecutionDisconnected(
        message, execution=execution, status=status, cause=failure, hint=hint
    )
