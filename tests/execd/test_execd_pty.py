"""Terminals: what a client sees of one, and what it missed."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

import httpx
import pytest
from execd_driving import TOKEN, Daemon, alive, eventually, running
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus


class Screen:
    """What came over one connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.output = {1: bytearray(), 2: bytearray(), 3: bytearray()}
        self.offset = 0
        self.texts: list[dict[str, Any]] = []

    async def read(self) -> None:
        frame = await self.socket.recv()
        if isinstance(frame, str):
            self.texts.append(json.loads(frame))
        elif frame[0] == 3:
            self.offset = int.from_bytes(frame[1:9], "big")
            self.output[3] += frame[9:]
        else:
            self.output[frame[0]] += frame[1:]

    async def until(self, wanted: bytes, stream: int = 1) -> None:
        while wanted not in self.output[stream]:
            await self.read()

    async def pid(self) -> int:
        while (found := re.search(rb"pid=(\d+)=", self.output[1])) is None:
            await self.read()
        return int(found[1])

    async def text(self, kind: str) -> dict[str, Any]:
        while not any(text["type"] == kind for text in self.texts):
            await self.read()
        found = next(text for text in self.texts if text["type"] == kind)
        self.texts.remove(found)
        return found

    async def say(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def type(self, text: str) -> None:
        await self.socket.send(b"\0" + text.encode())

    async def closed(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await self.read()
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


async def made(client: httpx.AsyncClient, **body: object) -> str:
    answer = await client.post("/pty", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


async def status(client: httpx.AsyncClient, terminal: str) -> dict[str, Any]:
    return dict((await client.get(f"/pty/{terminal}")).json())


async def test_a_shell_on_a_terminal(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client, cwd="/")
    assert await status(client, terminal) == {
        "session_id": terminal,
        "running": False,
        "output_offset": 0,
    }
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        connected = {"type": "connected", "session_id": terminal, "mode": "pty"}
        assert await screen.text("connected") == connected
        await screen.type("tty; stty size; pwd; echo $((40 + 2))ü\n")
        await screen.until("\r\n24 80\r\n/\r\n42ü\r\n".encode())
        assert b"/dev/pts/" in screen.output[1]
        await screen.say(type="resize", cols=132, rows=43)
        await screen.say(type="stdin", data="stty size\n")
        await screen.until(b"43 132\r\n")
        await screen.say(type="ping")
        await screen.text("pong")
        assert (await status(client, terminal))["running"]
        await screen.type("exit 5\n")
        assert await screen.text("exit") == {"type": "exit", "exit_code": 5}
        assert await screen.closed() == (1000, "process exited")
    now = await status(client, terminal)
    assert (now["running"], now["output_offset"]) == (False, len(screen.output[1]))
    async with daemon.connect(f"/pty/{terminal}/ws?since={now['output_offset']}") as socket:
        screen = Screen(socket)
        await screen.type("echo a fresh one\n")
        await screen.until(b"\ra fresh one")
        assert screen.output[3] == b""


async def test_signals_reach_what_runs_in_front(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client)
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        for way in ("signal", "key"):
            await screen.type(f"bash -c 'echo \"i\"n {way}; sleep 600'\n")
            await screen.until(f"in {way}\r\n".encode())
            if way == "signal":
                await screen.say(type="signal", signal="SIGINT")
            else:
                await screen.type("\x03")
            await screen.type(f"echo af''ter {way}\n")
            await screen.until(f"after {way}".encode())


async def test_what_was_missed_is_replayed(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client, command="echo one; read x; echo two; read x; seq 300000; read x")
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        await screen.until(b"one\r\n")
        await screen.type("\n")
    seen = len(screen.output[1])

    async def is_more() -> bool:
        return bool((await status(client, terminal))["output_offset"] > seen + 3)

    await eventually(is_more)
    async with daemon.connect(f"/pty/{terminal}/ws?since={seen}") as socket:
        screen = Screen(socket)
        await screen.text("connected")
        assert (screen.offset, screen.output[3].split()) == (seen, [b"two"])
        await screen.type("\n")
        await screen.until(b"\r\n300000\r\n")
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        await screen.text("connected")
        end = (await status(client, terminal))["output_offset"]
        assert len(screen.output[3]) == 1024 * 1024
        assert screen.offset + 1024 * 1024 == end
        assert screen.output[3].endswith(b"\r\n300000\r\n")


async def test_a_slow_client_loses_nothing(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client, command="seq 300000; echo done")
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        await screen.text("connected")
        await asyncio.sleep(0.5)
        await screen.closed()
    lines = screen.output[1].split()
    assert lines == [b"%d" % n for n in range(1, 300_001)] + [b"done"]


async def test_pipes(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client, command="cat; echo err >&2; tty")
    async with daemon.connect(f"/pty/{terminal}/ws?pty=0") as socket:
        screen = Screen(socket)
        assert (await screen.text("connected"))["mode"] == "pipe"
        await screen.type("through")
        await screen.until(b"through")
        await screen.say(type="signal", signal="SIGTERM")
        assert (await screen.text("exit"))["exit_code"] == -1


async def test_one_looks_at_a_time(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client)
    async with daemon.connect(f"/pty/{terminal}/ws") as first:
        screen = Screen(first)
        await screen.type("x=kept; echo ready\n")
        await screen.until(b"\rready")
        with pytest.raises(InvalidStatus) as caught:
            await daemon.connect(f"/pty/{terminal}/ws")
        assert caught.value.response.status_code == 409
        assert json.loads(caught.value.response.body or b"")["code"] == "ALREADY_CONNECTED"
        async with daemon.connect(f"/pty/{terminal}/ws?takeover=1") as second:
            assert (await screen.text("error"))["code"] == "TAKEN_OVER"
            assert await screen.closed() == (4001, "TAKEN_OVER")
            taken = Screen(second)
            await taken.type("echo $x\n")
            await taken.until(b"\rkept")


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "[]",
        '{"type":"resize","cols":65535,"rows":65535}',
        '{"type":"resize","cols":0,"rows":1}',
        '{"type":"signal","signal":"SIGSTOP"}',
        '{"type":"what"}',
        b"\1x",
        b"",
    ],
)
async def test_frames_that_make_no_sense(
    client: httpx.AsyncClient, daemon: Daemon, message: str | bytes
) -> None:
    terminal = await made(client)
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        await socket.send(message)
        assert (await screen.text("error"))["code"] == "INVALID_FRAME"
        await screen.say(type="ping")
        await screen.text("pong")


async def test_messages_are_bounded(client: httpx.AsyncClient, daemon: Daemon) -> None:
    terminal = await made(client, command="sleep 600")
    async with daemon.connect(f"/pty/{terminal}/ws?pty=0") as socket:
        screen = Screen(socket)
        await socket.send(b"\0" + b"x" * (1024 * 1024 - 1))
        await socket.send(b"\0" + b"x" * (1024 * 1024 - 1))
        assert (await screen.text("error"))["code"] == "STDIN_WRITE_FAILED"
        with suppress(ConnectionClosed):
            await socket.send(b"\0" + b"x" * (1024 * 1024))
        assert (await screen.closed())[0] == 1009


@pytest.mark.parametrize(
    ("url", "token", "headers", "refused"),
    [
        ("/pty/{}/ws", None, {}, 401),
        ("/pty/{}/ws", TOKEN[:-1], {}, 401),
        ("/pty/{}/ws", TOKEN, {"Origin": "http://localhost"}, 403),
        ("/pty/nope/ws", TOKEN, {}, 404),
        ("/pty/{}/ws?since=x", TOKEN, {}, 400),
        ("/no/such/route", TOKEN, {}, 404),
        ("/no/such/route", None, {}, 401),
    ],
)
async def test_who_is_not_let_in(
    client: httpx.AsyncClient,
    daemon: Daemon,
    url: str,
    token: str | None,
    headers: dict[str, str],
    refused: int,
) -> None:
    terminal = await made(client)
    with pytest.raises(InvalidStatus) as caught:
        await daemon.connect(url.format(terminal), token, **headers)
    assert caught.value.response.status_code == refused
    assert json.loads(caught.value.response.body or b"")["message"]
    assert not (await status(client, terminal))["running"]


async def test_errors_and_the_end(client: httpx.AsyncClient, daemon: Daemon) -> None:
    assert (await client.get("/pty/nope")).status_code == 404
    assert (await client.delete("/pty/nope")).status_code == 404
    assert (await client.post("/pty", json={"cwd": "/no/such"})).status_code == 400
    terminal = await made(client)
    assert (await client.get(f"/pty/{terminal}/ws")).status_code == 426
    async with daemon.connect(f"/pty/{terminal}/ws") as socket:
        screen = Screen(socket)
        await screen.type("nohup sleep 600 2>/dev/null & echo p''id=$!=\n")
        pid = await screen.pid()
        assert (await client.delete(f"/pty/{terminal}")).status_code == 200
        assert (await screen.closed())[0] == 1000
    assert not alive(pid)
    assert (await client.get(f"/pty/{terminal}")).status_code == 404


async def test_an_ended_daemon_leaves_no_shell() -> None:
    with running() as daemon:
        async with daemon.client() as client:
            terminal = await made(client)
            before = daemon.descriptors()
            async with daemon.connect(f"/pty/{terminal}/ws") as socket:
                screen = Screen(socket)
                await screen.type("echo p''id=$$=\n")
                pid = await screen.pid()
            other = await made(client, command="true")
            async with daemon.connect(f"/pty/{other}/ws") as socket:
                await Screen(socket).closed()
            assert daemon.descriptors() <= before + 4
        daemon.stop()
        assert not alive(pid)
