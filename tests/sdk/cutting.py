"""A proxy between the SDK and the server that cuts connections when a test says so."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Carries bytes to ``server`` and back, from a loopback port of its own.

    Args:
        server: host and port.

    Attributes:
        is_down: whether new connections are refused.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._left = -1
        self.is_down = False
        self.domain = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, as a firewall would."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    _reset(end)
            self._pairs.clear()

    def cut_behind(self, count: int) -> None:
        """Break all connections once so many more bytes have come from the server."""
        with self._lock:
            self._left = count

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    _reset(client)
                    continue
                server = socket.create_connection(self._server)
                with self._lock:
                    self._pairs.append((client, server))
                for source, target in ((client, server), (server, client)):
                    counted = source is server
                    threading.Thread(
                        target=self._carry, args=(source, target, counted), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(16384):
                if counted and self._spend(len(data)):
                    self.cut()
                    return
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _spend(self, count: int) -> bool:
        with self._lock:
            if self._left < 0:
                return False
            self._left -= count
            return self._left < 0


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
        end.close()
