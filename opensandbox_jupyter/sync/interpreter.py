"""A sandbox in which code runs, and not only commands.

Generated from ``interpreter.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.sync.codes import CodesSync
from opensandbox_jupyter.wire.readiness import Patience, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.sync.commands import CommandsSync
    from opensandbox_jupyter.sync.files import FilesSync
    from opensandbox_jupyter.sync.metrics import MetricsSync
    from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["CodeInterpreterSync"]

_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)
_PROBE = "exec 3<>/dev/tcp/127.0.0.1/${JUPYTER_PORT:-44771}"


class CodeInterpreterSync:
    """Runs code in a sandbox that exists::

        interpreter = CodeInterpreter.create(sandbox)
        execution = interpreter.codes.run("1 + 1")
        print(execution.result[0].text)

    Closing it leaves the sandbox alone.
    """

    def __init__(self, sandbox: SandboxSync, code_service: CodesSync) -> None:
        self._sandbox = sandbox
        self._codes = code_service

    @classmethod
    def create(
        cls,
        sandbox: SandboxSync,
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
            interpreter.check_ready(ready_timeout, health_check_polling_interval)
        return interpreter

    @property
    def sandbox(self) -> SandboxSync:
        """The sandbox."""
        return self._sandbox

    @property
    def id(self) -> str:
        """The sandbox's id."""
        return self._sandbox.id

    @property
    def files(self) -> FilesSync:
        """Files and directories inside."""
        return self._sandbox.files

    @property
    def commands(self) -> CommandsSync:
        """Commands inside."""
        return self._sandbox.commands

    @property
    def metrics(self) -> MetricsSync:
        """Resource use."""
        return self._sandbox.metrics

    @property
    def codes(self) -> CodesSync:
        """Code inside."""
        return self._codes

    def ping(self) -> bool:
        """Return whether the daemon answers."""
        return self._codes.ping()

    def is_healthy(self) -> bool:
        """Return whether code can run now."""
        try:
            return (self.commands.run(_PROBE)).exit_code == 0
        except SandboxException:
            return False

    def check_ready(
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
        connection.transport.run(ready, self.is_healthy)

    def close(self) -> None:
        """Do nothing: the connections are the sandbox's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The connections are the sandbox's: they stay open."""
