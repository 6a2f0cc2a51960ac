"""A server of much: a million events, a file of 1 GiB, and a hole that swallows uploads.

``python bulk_stub.py`` prints its port and serves until its standard input is closed. One thread a
connection, whole blocks at once, so that what is measured is the client.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from contextlib import suppress

from stub import plain, sandbox

EVENTS = 1_000_000
FILE = 1 << 30
BLOCK = 10_000
LAST = b"\r\n0\r\n\r\n"  # a size line that ends in 0 may also come before an empty line


def chunk(event: dict[str, object]) -> bytes:
    """Return one event as execd sends it: a chunk of its own."""
    frame = json.dumps({**event, "timestamp": 1}, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(frame), frame)


LINES = chunk({"type": "stdout", "text": "x" * 79 + "\n"}) * BLOCK
ZEROS = bytes(1 << 20)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def serve(sock: socket.socket, port: int) -> None:
    """Answer requests until the client leaves."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 20)
    held = b""
    with sock, suppress(OSError):
        while True:
            held = held.lstrip(b"\r\n")
            while b"\r\n\r\n" not in held:
                data = sock.recv(65536)
                if not data:
                    return
                held += data
            head, _, rest = held.partition(b"\r\n\r\n")
            swallow(sock, head.lower(), rest, buffer)
            held = b""
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            answer(sock, method, path, port)


def swallow(sock: socket.socket, head: bytes, rest: bytes, buffer: bytearray) -> None:
    """Read a body and forget it."""
    if b"transfer-encoding: chunked" in head:
        tail = rest[-len(LAST) :]
        while tail != LAST:
            size = sock.recv_into(buffer)
            if not size:
                return
            tail = (tail + bytes(buffer[max(0, size - len(LAST)) : size]))[-len(LAST) :]
    elif b"content-length: " in head:
        left = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]) - len(rest)
        while left > 0 and (size := sock.recv_into(buffer)):
            left -= size


def answer(sock: socket.socket, method: bytes, path: bytes, port: int) -> None:
    if path.startswith(b"/command"):
        sock.sendall(CHUNKED + chunk({"type": "init", "text": "0" * 32}))
        for _ in range(EVENTS // BLOCK):
            sock.sendall(LINES)
        sock.sendall(chunk({"type": "execution_complete", "execution_time": 1}) + b"0\r\n\r\n")
    elif path.startswith(b"/files/download"):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FILE)
        for _ in range(FILE // len(ZEROS)):
            sock.sendall(ZEROS)
    elif b"/endpoints/" in path:
        sock.sendall(plain(200, {"endpoint": f"127.0.0.1:{port}"}))
    elif path.startswith(b"/v1/sandboxes"):
        sock.sendall(plain(202 if method == b"POST" else 200, sandbox("stub")))
    else:
        sock.sendall(plain(200, None))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, port), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
