"""One WebSocket that looks at a terminal: frames in, frames out, one viewer at a time."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from opensandbox_jupyter.execd.terminals import Terminal

__all__ = ["Viewer"]

_REPLAY = 3
_AHEAD = 256 * 1024
_TAKEN_OVER = 4001
_SIGNALS = {
    name: signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGKILL", "SIGQUIT", "SIGHUP")
}
_json = msgspec.json.Encoder()


class Message(msgspec.Struct):
    """A text frame of the client."""

    type: str
    data: str = ""
    cols: int = 0
    rows: int = 0
    signal: str = ""


class Viewer:
    """Shows a terminal to one client, until either leaves or another viewer takes over.

    A client that reads slowly slows the shell down, not the daemon's memory up.
    """

    def __init__(self, socket: WebSocket, session_id: str, terminal: Terminal) -> None:
        self._socket, self._id, self._terminal = socket, session_id, terminal
        self._out: deque[bytes | str] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._end: tuple[int, str] | None = None
        self.gone = asyncio.Event()

    async def run(self, env: Mapping[str, str], since: int, *, pty: bool) -> None:
        """Accept the client, start the shell if none runs, and serve both ways."""
        terminal = self._terminal
        await self._socket.accept()
        start, replay = terminal.ring.since(since)
        if replay:
            self._put(bytes([_REPLAY]) + start.to_bytes(8, "big") + replay)
        mode = terminal.mode if terminal.running else "pty" if pty else "pipe"
        self._say(type="connected", session_id=self._id, mode=mode)
        terminal.feed, terminal.on_exit = self._feed, self._exited
        try:
            if not terminal.running:
                terminal.start(env, pty=pty)
        except OSError as exc:
            self._fail("START_FAILED", str(exc))
            self.close(1011, "the shell cannot be started")
        sending = asyncio.ensure_future(self._send())
        receiving = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            self.leave()

    def leave(self) -> None:
        """Look no more; the shell goes on."""
        if self._terminal.feed == self._feed:
            self._terminal.feed = self._terminal.on_exit = None
            self._terminal.resume()
        self.gone.set()

    def evict(self) -> None:
        """Make room for another viewer."""
        self._fail("TAKEN_OVER", "Another client has taken this terminal over.")
        self.close(_TAKEN_OVER, "TAKEN_OVER")

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what is still to be sent."""
        self._end = self._end or (code, reason)
        self._wake.set()

    def _put(self, frame: bytes | str) -> None:
        self._out.append(frame)
        self._size += len(frame)
        self._wake.set()

    def _say(self, **fields: object) -> None:
        self._put(_json.encode(fields).decode())

    def _fail(self, code: str, message: str) -> None:
        self._say(type="error", code=code, error=message)

    def _feed(self, stream: int, data: bytes) -> None:
        self._put(bytes([stream]) + data)
        if self._size > _AHEAD:
            self._terminal.pause()

    def _exited(self, exit_code: int) -> None:
        self._say(type="exit", exit_code=exit_code)
        self.close(1000, "process exited")

    async def _send(self) -> None:
        while True:
            while self._out:
                frame = self._out.popleft()
                is_text = isinstance(frame, str)
                await self._socket.send(
                    {"type": "websocket.send", "text" if is_text else "bytes": frame}
                )
                self._size -= len(frame)
                if not self._out and self._terminal.feed == self._feed:
                    self._terminal.resume()
            if self._end is not None:
                await self._socket.close(*self._end)
                return
            self._wake.clear()
            await self._wake.wait()

    async def _receive(self) -> None:
        """Take what the client sends, until it leaves."""
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                if data is None:
                    self._take(message["text"])
                elif data[:1] == b"\0":
                    self._type(data[1:])
                else:
                    self._fail("INVALID_FRAME", "A binary frame must begin with a zero byte.")

    def _take(self, text: str) -> None:
        try:
            message = msgspec.json.decode(text, type=Message)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
            self._fail("INVALID_FRAME", f"The frame cannot be used: {exc}")
            return
        if message.type == "ping":
            self._say(type="pong")
        elif message.type == "stdin":
            self._type(message.data.encode("utf-8", "replace"))
        elif message.type == "resize":
            if not self._terminal.resize(message.cols, message.rows):
                self._fail("INVALID_FRAME", "cols and rows must be between 1 and 4096.")
        elif message.type == "signal" and message.signal in _SIGNALS:
            self._terminal.signal(_SIGNALS[message.signal])
        else:
            self._fail("INVALID_FRAME", "There is no such frame, or no such signal.")

    def _type(self, data: bytes) -> None:
        if not self._terminal.write(data):
            self._fail("STDIN_WRITE_FAILED", "The shell does not read its input.")
