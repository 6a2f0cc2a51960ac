"""The server's side of the process that every sandbox's execd is a copy of."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from opensandbox_jupyter.server.provision import places, zygote_command, zygote_environment

__all__ = ["EXECD", "FIRST_GIVEN", "Unborn", "Zygote"]

EXECD = "execd"
"""The name of an execd that came from the zygote."""

FIRST_GIVEN = 6
"""The number that the first descriptor after standard error has in an execd; the others follow."""

_LOG = logging.getLogger(__name__)
_MOST = 4096
_PATIENCE = 15.0
"""Seconds for an answer; one that was just started loads all modules first."""
_END_SECONDS = 2.0
_NEVER = {str(n) for n in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS)}
"""What a kernel answers that has no such calls, or does not allow them."""


class Unborn(Exception):
    """The zygote cannot put an execd into a sandbox; it has to be started there, from nothing."""


class Zygote:
    """Started at the first :meth:`bear`, and again where it was killed. One per server."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self.is_able = True
        """Whether this host has not shown yet that it cannot work here."""

    async def bear(
        self,
        library: Path,
        inside: int,
        descriptors: Sequence[int],
        *,
        limits: Mapping[int, int],
        filter_: bytes,
        capabilities: int,
    ) -> int:
        """Put an execd into a sandbox in which nothing runs yet.

        Args:
            library: the directory of execd's modules.
            inside: a descriptor of a process inside.
            descriptors: its standard error, where its settings will come from, and what they name.
                For it these begin with :data:`FIRST_GIVEN`.
            limits: resource limits by kind, for it and for the sandbox's first process.
            filter_: the system call filter.
            capabilities: the mask of those that it keeps.

        Returns:
            A descriptor of it, which the caller closes. It has given up all else.

        Raises:
            OSError: it cannot be started.
            Unborn: it could not.
        """
        wanted = msgspec.json.encode(
            {
                "limits": limits,
                "filter": filter_,
                "capabilities": capabilities,
                "places": places(str(library)),
            }
        )
        async with self._turn:
            said, fds = await self._ask(library, wanted, (inside, *descriptors))
        if fds:
            return fds[0]
        number, _, text = said.decode("utf-8", "replace").partition(" ")
        if number == "0" and not text:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if number in _NEVER:
            self.is_able = False
        raise Unborn(text or "the zygote has gone")

    def close(self) -> None:
        """End it, once there is no sandbox any more. Blocks for a moment."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
        self._connection = self._process = None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _ask(
        self, library: Path, message: bytes, descriptors: Sequence[int]
    ) -> tuple[bytes, list[int]]:
        """Return the answer; an empty one when the zygote, or its child, ended over it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with its:
                self._send(library, message, (its.fileno(), *descriptors))
            ours.setblocking(False)
            try:
                return await asyncio.wait_for(_receive(ours), _PATIENCE)
            except asyncio.TimeoutError as error:
                self._kill()
                raise Unborn("the zygote does not answer") from error

    def _send(self, library: Path, message: bytes, descriptors: Sequence[int]) -> None:
        for _ in range(2):
            if self._connection is None:
                self._connection = self._start(library)
            try:
                socket.send_fds(self._connection, [message], descriptors)
            except (BrokenPipeError, ConnectionResetError) as error:
                _LOG.warning("The zygote has gone, and another one is started: %s", error)
                self.close()
            else:
                return
        raise Unborn("the zygote does not stay")

    def _start(self, library: Path) -> socket.socket:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with its:
                self._process = subprocess.Popen(
                    zygote_command(),
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=zygote_environment(),
                    cwd=library,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return ours


async def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Return the next message and its descriptors; an empty one when the other end has gone."""
    loop = asyncio.get_running_loop()
    is_there = loop.create_future()

    def tell() -> None:
        if not is_there.done():
            is_there.set_result(None)

    loop.add_reader(connection, tell)
    try:
        await is_there
    finally:
        loop.remove_reader(connection)
    said, fds, _, _ = socket.recv_fds(connection, _MOST, 1)
    return said, fds
