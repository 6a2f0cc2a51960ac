"""A real socket server that misbehaves as it is told: one script for each connection, in order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket, requests: list[bytes]) -> None:
        self.sock = sock
        self._requests = requests
        self._held = b""

    def request(self) -> bytes:
        """Read one whole request and note it down; empty at the end of the connection."""
        while b"\r\n\r\n" not in self._held:
            if not self._more():
                return b""
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(lines.get(b"content-length", 0))
        chunked = lines.get(b"transfer-encoding") == b"chunked"
        while len(self._held) < size or (chunked and b"0\r\n\r\n" not in self._held):
            if not self._more():
                return b""
        if chunked:
            size = self._held.index(b"0\r\n\r\n") + 5
        body, self._held = self._held[:size], self._held[size:]
        self._requests.append(head + b"\r\n\r\n" + body)
        return self._requests[-1]

    def say(self, *pieces: bytes) -> None:
        """Send pieces, each in a packet of its own."""
        for piece in pieces:
            self.sock.sendall(piece)

    def linger(self) -> None:
        """Keep the connection open until the client closes it."""
        with suppress(OSError):
            while self.sock.recv(65536):
                pass

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._held += data
        return bool(data)


Script = Callable[[Peer], None]


class RudeServer:
    """Plays ``scripts``, the last one again for every further connection."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed_by_client = threading.Event()
        self._scripts = scripts
        self._socks: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and close all connections."""
        for sock in [self._listener, *self._socks]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                script = self._scripts[min(self.connections, len(self._scripts) - 1)]
                self.connections += 1
                self._socks.append(sock)
                threading.Thread(target=self._play, args=(script, sock), daemon=True).start()

    def _play(self, script: Script, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script(Peer(sock, self.requests))


def always(answer: bytes) -> Script:
    """Return a script that gives the same answer to every request."""

    def script(peer: Peer) -> None:
        while peer.request():
            peer.say(answer)

    return script


def once(*pieces: bytes, linger: bool = False) -> Script:
    """Return a script that answers one request, then closes the connection or lingers."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.say(*pieces)
        if linger:
            peer.linger()

    return script
