"""Finds the embedded server of this user, or starts it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from threading import Lock

from opensandbox_jupyter.exceptions import IsolationUnavailableException, LocalServerException
from opensandbox_jupyter.runtime_file import (
    CHALLENGE_HEADER,
    PROOF_HEADER,
    Places,
    RuntimeFile,
    places,
    private_directory,
    proof,
)
from opensandbox_jupyter.secrecy import Unpicklable
from opensandbox_jupyter.transport.failures import Failure
from opensandbox_jupyter.transport.native import Client
from opensandbox_jupyter.wire.base import Call, Origin

__all__ = ["LocalServer", "ensure_server", "find_server"]

_MOST_LOG = 1 << 20
_ASK_SECONDS = 2.0


@dataclass(frozen=True)
class LocalServer(Unpicklable):
    """A server of this user that runs: ``url`` without a trailing slash, and its key."""

    url: str
    api_key: str = field(repr=False)
    pid: int
    version: str


_threads = Lock()
_started: list[subprocess.Popen[bytes]] = []


def find_server() -> LocalServer | None:
    """Return this user's server if one runs and proves to be it. Blocks.

    Raises:
        LocalServerException: the runtime file is not to be trusted.
    """
    found = RuntimeFile.read(places().runtime_file)
    if found is None or not _proves_itself(found):
        return None
    return LocalServer(found.url, found.api_key, found.pid, found.version)


def ensure_server(timeout: float = 20) -> LocalServer:
    """Return this user's server; start it when none runs. Blocks; callable from any thread.

    Args:
        timeout: seconds to wait until it answers.

    Raises:
        IsolationUnavailableException: this host cannot isolate a sandbox.
        LocalServerException: it could not be started, or did not answer in time.
    """
    server = find_server()
    if server is not None:
        return server
    deadline = time.monotonic() + timeout
    where = places()
    private_directory(where.run)
    private_directory(where.log)
    with _threads, _only_one(where.run / "start.lock", deadline):
        return find_server() or _start(where, deadline)


def _start(where: Places, deadline: float) -> LocalServer:
    with suppress(OSError):
        if where.server_log.stat().st_size > _MOST_LOG:
            where.server_log.replace(where.server_log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(where.server_log, flags, 0o600), "ab") as log:
        begin = os.fstat(log.fileno()).st_size
        process = subprocess.Popen(
            [sys.executable, "-m", "opensandbox_jupyter.cli", "serve", "--on-demand"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    _started[:] = [older for older in _started if older.poll() is None] + [process]
    while time.monotonic() < deadline:
        server = find_server()
        if server is not None:
            return server
        if process.poll() is not None:
            raise _reason(where.server_log, begin)
        time.sleep(0.02)
    process.terminate()
    raise LocalServerException(
        "The embedded server did not answer in time.", hint=f"Its log is {where.server_log}."
    )


def _environment() -> dict[str, str]:
    """Return our own environment, in which this very package is found."""
    home = str(Path(__file__).resolve().parent.parent)
    paths = [home, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _reason(log: Path, begin: int) -> LocalServerException:
    """Read from the log why the server ended."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read(65_536).decode("utf-8", "replace").splitlines()
    said = {key: text for key, _, text in (line.partition(": ") for line in lines)}
    kind, _, message = said.get("error", "").partition(": ")
    hint = said.get("hint") or f"Its log is {log}."
    if kind == IsolationUnavailableException.__name__:
        return IsolationUnavailableException(message, hint=hint)
    last = lines[-1] if lines else "It said nothing."
    return LocalServerException(message or f"The embedded server ended: {last}", hint=hint)


def _proves_itself(found: RuntimeFile) -> bool:
    """Ask whoever listens there to prove that it knows the key, without telling it."""
    challenge = os.urandom(16).hex()
    headers = {CHALLENGE_HEADER: challenge}
    call = Call(
        "prove", Origin(found.url), "GET", "/health", headers=headers, patience=_ASK_SECONDS
    )
    client = Client({}, _ASK_SECONDS)
    try:
        answer = client.stream(call).headers.get(PROOF_HEADER.lower(), "")
    except Failure:
        return False
    finally:
        client.close()
    expected = proof(found.api_key, found.nonce, challenge)
    return compare_digest(answer.encode(), expected.encode())


@contextmanager
def _only_one(path: Path, deadline: float) -> Iterator[None]:
    """Hold ``path`` among all processes of this user; wait for it until ``deadline``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LocalServerException(
                        "Another program has been starting the embedded server for too long."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
