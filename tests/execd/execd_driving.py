"""The real daemon, as the lifecycle server would start it, but outside of any sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import unix_connect

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.hosting.removal import remove_tree

TOKEN = "the-token-of-this-sandbox"
START = "from opensandbox_jupyter.execd.__main__ import main; main()"


class Daemon:
    """A running execd: where it listens, where it works, and who it is."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self.workspace = home / "workspace"
        self.workspace.mkdir()
        self.env_file = home / "env"
        self.socket = str(home / "execd.sock")
        document = {
            "sandbox_id": "sandbox-of-the-tests",
            "token": TOKEN,
            "cwd": str(self.workspace),
            "env": {
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "LANG": "C.UTF-8",
                "EXECD_ENVS": str(self.env_file),
            },
            "env_file": str(self.env_file),
            "cpu_count": 2.0,
            "memory_bytes": 512 * 1024 * 1024,
            "entrypoint": None,
        }
        self.process = self._start(document | settings)

    def _start(self, document: dict[str, object]) -> subprocess.Popen[bytes]:
        read_fd, write_fd = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen(128)
            document["listen_fd"] = listener.fileno()
            process = subprocess.Popen(
                [sys.executable, "-c", START, "--config-fd", str(read_fd)],
                pass_fds=[read_fd, listener.fileno()],
                cwd=Path(__file__).parents[2],
                env={"SECRET_OF_THE_STARTER": "1"},
                stdin=subprocess.DEVNULL,
            )
        os.close(read_fd)
        with open(write_fd, "w") as file:
            json.dump(document, file)
        return process

    def client(self, **headers: str) -> httpx.AsyncClient:
        """Return a client; without headers of its own, one with the token."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self.socket),
            base_url="http://execd",
            headers=headers or {EXECD_TOKEN_HEADER: TOKEN},
            timeout=30,
        )

    def connect(self, url: str, token: str | None = TOKEN, **headers: str) -> unix_connect:
        """Return a WebSocket to be entered."""
        if token is not None:
            headers[EXECD_TOKEN_HEADER] = token
        uri = f"ws://execd{url}"
        return unix_connect(self.socket, uri, additional_headers=headers, max_size=None)

    def descriptors(self) -> int:
        """Return how many files the daemon has open, apart from connections; root alone can see."""
        process = psutil.Process(self.process.pid)
        try:
            return process.num_fds() - len(process.net_connections("unix"))
        except psutil.AccessDenied:
            return 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def running(**settings: object) -> Iterator[Daemon]:
    """Start a daemon for a while."""
    home = Path(tempfile.mkdtemp(prefix="execd-tests-"))
    daemon = Daemon(home, **settings)
    try:
        yield daemon
    finally:
        daemon.stop()
        with suppress(OSError):
            remove_tree(home)


async def run(client: httpx.AsyncClient, body: Mapping[str, object] | str, **headers: str) -> Run:
    """Run a command in the foreground, to its end."""
    wanted = {"command": body} if isinstance(body, str) else dict(body)
    answer = await client.post("/command", json=wanted, headers=headers)
    assert answer.status_code == 200, answer.text
    assert "text/event-stream" in answer.headers["content-type"]
    return Run(events_of(answer.content))


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Read a stream as the official client does: frames end at an empty line, and only there."""
    assert body.endswith(b"\n\n")
    events = [json.loads(frame) for frame in body[:-2].split(b"\n\n")]
    assert all(isinstance(event["timestamp"], int) for event in events)
    return events


class Run:
    """What a client learned of a command."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.id = events[0]["text"]
        self.last = events[-1]

    def texts(self, kind: str = "stdout") -> list[str]:
        return [event["text"] for event in self.events if event["type"] == kind]

    @property
    def stdout(self) -> str:
        return "".join(self.texts())

    @property
    def stderr(self) -> str:
        return "".join(self.texts("stderr"))

    @property
    def evalue(self) -> str | None:
        return self.last["error"]["evalue"] if self.last["type"] == "error" else None


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until ``condition`` holds."""
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
