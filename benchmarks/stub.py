"""A server that answers at once: the lifecycle API and execd, just enough to time a client.

``python stub.py`` prints its port and what serves it, and serves until its standard input is
closed. It knows nothing and checks nothing. A small program in C answers by the table below, where
there is a compiler; otherwise Python does, which takes as long as a fast client and so hides some
of what is measured.

Two things take their time: the command ``slow`` lasts 100 ms, and sandboxes of the images
``late-500``, ``late-503`` and ``late-refused`` are ready 50 ms after they were made; until then
their daemon answers with that status, or nobody listens at its port.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SLOW_MS = 100
LATE = 0.05
NOW = "2026-01-01T00:00:00Z"
METRICS = {
    "cpu_count": 1.0,
    "cpu_used_pct": 1.0,
    "mem_total_mib": 1.0,
    "mem_used_mib": 1.0,
    "timestamp": 1,
}


@dataclass(frozen=True)
class Rule:
    """An answer, and which requests get it. The first rule that fits holds.

    ``path`` and ``body`` are what a request contains, ``delay`` is in ms; ``arms`` makes the server
    late for ``LATE`` seconds, and ``while_late`` rules hold only then.
    """

    answer: bytes
    path: str = "-"
    method: str = "-"
    body: str = "-"
    delay: int = 0
    arms: bool = False
    while_late: bool = False

    def line(self) -> bytes:
        """Return the rule as stub.c reads it."""
        flags = f"{self.delay} {self.arms:d} {self.while_late:d} {len(self.answer)}"
        return f"{self.method} {self.path} {self.body} {flags}\n".encode() + self.answer

    def fits(self, line: bytes, body: bytes, *, late: bool) -> bool:
        """Return whether it answers a request."""
        return (
            (self.method == "-" or line.startswith(self.method.encode()))
            and (self.path == "-" or self.path.encode() in line)
            and (self.body == "-" or self.body.encode() in body)
            and (late or not self.while_late)
        )


def sandbox(name: str) -> dict[str, object]:
    """Return what a lifecycle server says about a sandbox."""
    return {
        "id": name,
        "status": {"state": "Running"},
        "createdAt": NOW,
        "entrypoint": ["tail"],
    }


def plain(status: int, body: object) -> bytes:
    """Return a whole JSON answer."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def stream(events: list[dict[str, object]]) -> bytes:
    """Return a whole event stream, one chunk an event."""
    out = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    ]
    for event in events:
        frame = json.dumps({**event, "timestamp": 1}).encode() + b"\n\n"
        out.append(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
    return b"".join([*out, b"0\r\n\r\n"])


RUN = stream(
    [
        {"type": "init", "text": "0" * 32},
        {"type": "ping", "text": "pong"},
        {"type": "stdout", "text": "hello\n"},
        {"type": "execution_complete", "execution_time": 1},
    ]
)


def rules(port: int, late_port: int) -> list[Rule]:
    """Return the table of a server at ``port``; ``late_port`` refuses while it is late."""
    made, table = "/v1/sandboxes", [Rule(RUN, "/command", body='"slow"', delay=SLOW_MS)]
    table.append(Rule(RUN, "/command"))
    for status in (500, 503):
        error = plain(status, {"code": "NOT_YET", "message": "not yet"})
        table.append(Rule(error, f"/late-{status}/ping", while_late=True))
    for name in ("late-500", "late-503", "late-refused"):
        at = f"127.0.0.1:{late_port}" if name == "late-refused" else f"127.0.0.1:{port}/{name}"
        table.append(Rule(plain(200, {"endpoint": at}), f"/{name}/endpoints/"))
        table.append(Rule(plain(202, sandbox(name)), made, "POST", f'"{name}"', arms=True))
    return [
        *table,
        Rule(plain(200, METRICS), "/metrics"),
        Rule(plain(200, {"endpoint": f"127.0.0.1:{port}"}), "/endpoints/"),
        Rule(plain(202, sandbox("stub")), made, "POST"),
        Rule(plain(200, sandbox("stub")), made),
        Rule(plain(200, None)),
    ]


def compiled(folder: str) -> str | None:
    """Return the server in C, made in ``folder``, or ``None`` where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    program = f"{folder}/stub"
    source = Path(__file__).with_name("stub.c")
    if compiler is None:
        return None
    done = subprocess.run([compiler, "-O2", "-o", program, source], check=False)
    return program if done.returncode == 0 else None


def serve_in_c(program: str) -> None:
    """Serve with the program in C."""
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port, late_port = map(int, child.stdout.readline().split())
        child.stdin.writelines(rule.line() for rule in rules(port, late_port))
        child.stdin.write(b"go - - 0 0 0 0\n")
        child.stdin.flush()
        print(port, "C", flush=True)
        sys.stdin.read()


class Answers(asyncio.Protocol):
    """One connection: reads requests, answers each by the table."""

    table: list[Rule]
    gate: Gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held = b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            head = self.held[:end]
            size = 0
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            if len(self.held) < end + 4 + size:
                return
            body = self.held[end + 4 : end + 4 + size]
            self.held = self.held[end + 4 + size :]
            self.answer(head.split(b"\r\n", 1)[0], body)

    def answer(self, line: bytes, body: bytes) -> None:
        late = time.monotonic() < self.gate.late_until
        rule = next(rule for rule in self.table if rule.fits(line, body, late=late))
        if rule.arms:
            self.gate.arm()
        write = self.transport.write  # type: ignore[attr-defined]
        if rule.delay:
            asyncio.get_running_loop().call_later(rule.delay / 1000, write, rule.answer)
        else:
            write(rule.answer)


class Gate:
    """The second port, at which nobody listens while the server is late."""

    def __init__(self) -> None:
        self.late_until = 0.0
        self.sock = bound()
        self.port = self.sock.getsockname()[1]
        self.listening: list[asyncio.Server] = []

    def arm(self) -> None:
        """Be late."""
        while self.listening:
            self.listening.pop().close()
        self.sock.close()
        self.sock = bound(self.port)
        self.late_until = time.monotonic() + LATE
        asyncio.get_running_loop().call_later(LATE, self.open)

    def open(self) -> None:
        """Listen again."""
        server = asyncio.get_running_loop().create_server(Answers, sock=self.sock)
        asyncio.ensure_future(server).add_done_callback(
            lambda made: self.listening.append(made.result())
        )


def bound(port: int = 0) -> socket.socket:
    """Return a socket that has a port, and does not listen yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


async def serve_in_python() -> None:
    """Serve with asyncio."""
    loop = asyncio.get_running_loop()
    Answers.gate = gate = Gate()
    server = await loop.create_server(Answers, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    Answers.table = rules(port, gate.port)
    print(port, "Python", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as folder:
        program = None if "--python" in sys.argv[1:] else compiled(folder)
        if program is None:
            asyncio.run(serve_in_python())
        else:
            serve_in_c(program)


if __name__ == "__main__":
    main()
