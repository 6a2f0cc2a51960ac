"""A sandbox in which code runs, and not only commands."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.codes import Codes
from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.wire.readiness import Patience, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.commands import Commands
    from opensandbox_jupyter.files import Files
    from opensandbox_jupyter.metrics import Metrics
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["CodeInterpreter"]

_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)
_PROBE = "exec 3<>/dev/tcp/127.0.0.1/${JUPYTER_PORT:-44771}"


class CodeInterpreter:
    """Runs code in a sandbox that exists::

        interpreter = await CodeInterpreter.create(sandbox)
        execution = await interpreter.codes.run("1 + 1")
        print(execution.result[0].text)

    Closing it leaves the sandbox alone.
    """

    def __init__(self, sandbox: Sandbox, code_service: Codes) -> None:
        self._sandbox = sandbox
        self._codes = code_service

    @classmethod
    async def create(
        cls,
        sandbox: Sandbox,
        *,
        ready_timeout: Duration = _READY,
        health_check_polling_interval: Duration = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Return an interpreter of ``sandbox`` once code can run there.

        Raises:
            SandboxReadyTimeoutException: when that is not so within ``ready_timeout``.
        """
        interpreter = cls(sandbox, sandbox.codes)
        if not skip_health_check:
            await interpreter.check_ready(ready_timeout, health_check_polling_interval)
        return interpreter

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox."""
        return self._sandbox

    @property
    def id(self) -> str:
        """The sandbox's id."""
        return self._sandbox.id

    @property
    def files(self) -> Files:
        """Files and directories inside."""
        return self._sandbox.files

    @property
    def commands(self) -> Commands:
        """Commands inside."""
        return self._sandbox.commands

    @property
    def metrics(self) -> Metrics:
        """Resource use."""
        return self._sandbox.metrics

    @property
    def codes(self) -> Codes:
        """Code inside."""
        return self._codes

    async def ping(self) -> bool:
        """Return whether the daemon answers."""
        return await self._codes.ping()

    async def is_healthy(self) -> bool:
        """Return whether code can run now."""
        try:
            return (await self.commands.run(_PROBE)).exit_code == 0
        except SandboxException:
            return False

    async def check_ready(
        self, timeout: Duration = _READY, polling_interval: Duration = _INTERVAL
    ) -> None:
        """Wait until code can run.

        Raises:
            SandboxReadyTimeoutException: when that is not so within ``timeout``.
        """
        connection = self._sandbox._connection
        ready = wait_ready(
            connection.protocol,
            self._sandbox._at,
            self.id,
            custom=True,
            patience=Patience(timeout, polling_interval),
        )
        await connection.transport.run(ready, self.is_healthy)

    async def aclose(self) -> None:
        """Do nothing: the connections are the sandbox's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The connections are the sandbox's: they stay open."""
