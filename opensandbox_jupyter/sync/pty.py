"""Terminals in a sandbox: a shell for a person, which outlives the client that looks at it.

Generated from ``pty.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import (
    PtyAlreadyConnected,
    PtyException,
    PtySessionGone,
    PtyTakenOver,
    SandboxApiException,
    SandboxError,
)
from opensandbox_jupyter.models.durations import Duration, duration
from opensandbox_jupyter.models.pty import PtyExit, PtyOutput, PtyProblem, PtyStatus
from opensandbox_jupyter.sync.connection import ConnectionSync, checked_id
from opensandbox_jupyter.wire.base import Origin

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.transport.blocking import Pieces
    from opensandbox_jupyter.transport.socket_blocking import Socket

__all__ = ["PtySessionSync", "PtySync"]

_TAKEN_OVER = 4001
_KINDS = {kind.default_code: kind for kind in (PtyAlreadyConnected, PtyTakenOver, PtySessionGone)}
_REFUSALS = {404: PtySessionGone.default_code, 409: PtyAlreadyConnected.default_code}


class PtySync:
    """Makes, finds and ends terminals. Got from ``sandbox.pty``.

    A terminal is a WebSocket: it goes through proxies that the environment names, but not through
    an ``httpx`` transport of the user's own.
    """

    def __init__(self, connection: ConnectionSync, at: Origin) -> None:
        self._connection = connection
        self._at = at

    def create(
        self,
        *,
        cwd: str | None = None,
        command: str | None = None,
        cols: int = 80,
        rows: int = 24,
        pipes: bool = False,
    ) -> PtySessionSync:
        """Start a shell behind a terminal and look at it.

        Args:
            cwd: its directory.
            command: what the shell runs; by default it waits for input.
            cols: the terminal's width, in characters.
            rows: its height, in lines.
            pipes: no terminal but pipes, with error output apart.

        Raises:
            SandboxApiException: when the daemon refuses, for example for a directory that is not
                there.
        """
        transport, protocol = self._connection.transport, self._connection.protocol
        size = protocol.pty_resize(cols, rows)
        session_id = transport.run(protocol.pty_create(self._at, cwd, command))
        try:
            session = self.attach(session_id, pipes=pipes)
            if not pipes:
                session._send(size)
        except BaseException:
            transport.insist(protocol.pty_delete(self._at, session_id))
            raise
        return session

    def attach(
        self, session_id: str, *, since: int = 0, takeover: bool = False, pipes: bool = False
    ) -> PtySessionSync:
        """Look at a terminal that exists; one whose program has ended starts it again.

        Args:
            session_id: the terminal's id.
            since: replay output from this offset on, as far as the daemon still has it (1 MiB):
                the ``offset`` of the last session goes on without a gap.
            takeover: take the place of a client that looks at it.
            pipes: pipes instead of a terminal, if its program has to be started.

        Raises:
            PtyAlreadyConnected: when another client looks at it.
            PtySessionGone: when there is no such terminal.
        """
        checked_id(session_id, "session id")
        call = self._connection.protocol.pty_attach(
            self._at, session_id, since=since, takeover=takeover, pipes=pipes
        )
        try:
            socket = self._connection.transport.connect(call)
        except SandboxApiException as error:
            code = _REFUSALS.get(error.status_code or 0)
            if code is None:
                raise
            raise _error(code, Exception.__str__(error), error) from error
        return PtySessionSync(self._connection, session_id, socket, since)

    def status(self, session_id: str) -> PtyStatus:
        """Return whether a terminal's program runs, and how much it has printed.

        Raises:
            SandboxApiException: with status 404 when there is no such terminal.
        """
        operation = self._connection.protocol.pty_status(
            self._at, checked_id(session_id, "session id")
        )
        return self._connection.transport.run(operation)

    def delete(self, session_id: str) -> None:
        """End a terminal and what runs in it.

        Raises:
            SandboxApiException: with status 404 when there is no such terminal.
        """
        operation = self._connection.protocol.pty_delete(
            self._at, checked_id(session_id, "session id")
        )
        self._connection.transport.run(operation)


class PtySessionSync:
    """One look at a terminal. Got from :class:`Pty`; closing it leaves the terminal running.

    Attributes:
        session_id: the terminal's id.
        offset: how much of its output was read here; give it to ``attach(since=...)``.
        exit_code: the program's exit code once it has ended and its output was read.
    """

    def __init__(
        self, connection: ConnectionSync, session_id: str, socket: Socket, offset: int
    ) -> None:
        self._protocol = connection.protocol
        self._socket = socket
        self._transport = connection.transport
        self.session_id = session_id
        self.offset = offset
        self.exit_code: int | None = None

    def read(self) -> Pieces[PtyOutput]:
        """Give output as it comes, replayed output first, until the program has ended.

        Not reading slows the program down, and nothing is kept here.

        Raises:
            PtyTakenOver: when another client took the terminal over.
            PtyException: when the daemon could not do what it was asked for.
            SandboxConnectionException: when the connection broke: ``attach`` goes on.
        """
        return self._transport.give(self._read())

    def _read(self) -> Generator[PtyOutput, None]:
        while (frame := self._socket.receive()) is not None:
            event = self._protocol.pty_event(frame)
            if isinstance(event, PtyOutput):
                start = self.offset if event.offset is None else event.offset
                self.offset = start + len(event.data)
                yield PtyOutput(event.data, start, event.is_error)
            elif isinstance(event, PtyExit):
                self.exit_code = event.exit_code
            elif isinstance(event, PtyProblem):
                raise _error(event.code, event.message)
        if self._socket.close_code == _TAKEN_OVER:
            raise _error(SandboxError.TAKEN_OVER, "another client has taken it over")

    def write(self, data: str | bytes) -> None:
        """Type; text goes as UTF-8."""
        self._send(self._protocol.pty_input(data.encode() if isinstance(data, str) else data))

    def resize(self, cols: int, rows: int) -> None:
        """Change the terminal's size, in characters and lines.

        Raises:
            InvalidArgumentException: when one is not 1 to 4096.
        """
        self._send(self._protocol.pty_resize(cols, rows))

    def signal(self, name: str) -> None:
        """Send SIGINT, SIGTERM, SIGKILL, SIGQUIT or SIGHUP to what runs in the foreground.

        Raises:
            InvalidArgumentException: for any other name.
        """
        self._send(self._protocol.pty_signal(name))

    def ping(self, timeout: Duration = 5.0) -> bool:
        """Return whether the daemon answers within ``timeout``, seconds or a timedelta."""
        return self._socket.ping(duration(timeout).total_seconds())

    def close(self) -> None:
        """Look no more; the terminal goes on."""
        self._socket.close()

    def _send(self, frame: str | bytes) -> None:
        self._socket.send(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _error(code: str, message: str, cause: BaseException | None = None) -> PtyException:
    """Return the exception for what a daemon says of a terminal."""
    kind = _KINDS.get(code, PtyException)
    return kind(f"The terminal: {message}", error=SandboxError(code, message), cause=cause)
