"""A server that answers at once: the lifecycle API and execd, just enough to time a client.

``python stub.py`` prints its port and serves until its standard input is closed. It knows nothing
and checks nothing, so that what is measured is the client. Two things take their time: the command
``slow`` lasts 100 ms, and a sandbox of the image ``late`` is ready 50 ms after it was made.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

SLOW = 0.1
LATE = 0.05
NOW = "2026-01-01T00:00:00Z"
SANDBOX = {
    "id": "stub",
    "status": {"state": "Running"},
    "createdAt": NOW,
    "entrypoint": ["tail"],
}
METRICS = {
    "cpu_count": 1.0,
    "cpu_used_pct": 1.0,
    "mem_total_mib": 1.0,
    "mem_used_mib": 1.0,
    "timestamp": 1,
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


class Answers(asyncio.Protocol):
    """One connection: reads requests, answers each by its path."""

    port = 0
    late_until = 0.0

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
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            write, answer = self.transport.write, self.answer(method, path, body)  # type: ignore[attr-defined]
            if b'"slow"' in body:
                asyncio.get_running_loop().call_later(SLOW, write, answer)
            else:
                write(answer)

    def answer(self, method: bytes, path: bytes, body: bytes) -> bytes:
        if path.startswith(b"/command"):
            return RUN
        if path.startswith(b"/ping") and time.monotonic() < Answers.late_until:
            return plain(503, {"code": "SERVICE_UNAVAILABLE", "message": "not yet"})
        if method == b"POST" and b'"late"' in body:
            Answers.late_until = time.monotonic() + LATE
        if path.startswith(b"/metrics"):
            return plain(200, METRICS)
        if b"/endpoints/" in path:
            return plain(200, {"endpoint": f"127.0.0.1:{self.port}"})
        if path.startswith(b"/v1/sandboxes"):
            return plain(202 if method == b"POST" else 200, SANDBOX)
        return plain(200, None)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answers, "127.0.0.1", 0)
    Answers.port = server.sockets[0].getsockname()[1]
    print(Answers.port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
