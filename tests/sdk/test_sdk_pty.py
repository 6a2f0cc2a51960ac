"""Terminals and ports, in both colours, on the embedded server."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PtyAlreadyConnected,
    PtySessionGone,
    PtyTakenOver,
    SandboxApiException,
    SandboxReadyTimeoutException,
)


async def output_until(session: Any, wanted: bytes) -> bytes:
    """Return what a terminal prints, until ``wanted`` is there."""
    seen = b""
    async for piece in session.read():
        seen += piece.data
        if wanted in seen:
            break
    return seen


async def test_a_shell_is_typed_to_until_it_ends(sandbox: Any) -> None:
    async with await sandbox.pty.create(cwd="/tmp", cols=101, rows=17) as session:
        await session.write("stty size; pwd\n")
        first = await output_until(session, b"/tmp\r\n")
        await session.resize(55, 9)
        await session.write(b"stty size\n")
        second = await output_until(session, b"9 55")
        assert await session.ping()
        await session.write("exit 7\n")
        await output_until(session, b"never there")

    assert b"17 101" in first
    assert b"9 55" in second
    assert session.exit_code == 7


async def test_a_command_may_run_on_pipes_with_errors_apart(sandbox: Any) -> None:
    session = await sandbox.pty.create(command="echo out; echo err >&2; exit 3", pipes=True)
    pieces = [piece async for piece in session.read()]
    await session.close()

    assert b"".join(p.data for p in pieces if not p.is_error) == b"out\n"
    assert b"".join(p.data for p in pieces if p.is_error) == b"err\n"
    assert session.exit_code == 3
    assert session.offset == 8


async def test_who_comes_back_misses_nothing(sandbox: Any) -> None:
    session = await sandbox.pty.create(command="for i in 1 2 3; do read x; echo got $x; done")
    await session.write("a\n")
    seen = await output_until(session, b"got a\r\n")
    await session.close()
    status = await sandbox.pty.status(session.session_id)

    again = await sandbox.pty.attach(session.session_id, since=session.offset)
    await again.write("b\n")
    more = await output_until(again, b"got b\r\n")
    whole = await sandbox.pty.attach(session.session_id, takeover=True)
    replayed = await output_until(whole, b"got b\r\n")
    await again.close()
    await whole.close()

    assert status.running
    assert status.output_offset >= session.offset == len(seen)
    assert b"got a" not in more
    assert replayed == seen + more


async def test_one_client_looks_and_another_may_take_over(sandbox: Any) -> None:
    first = await sandbox.pty.create()
    with pytest.raises(PtyAlreadyConnected):
        await sandbox.pty.attach(first.session_id)
    second = await sandbox.pty.attach(first.session_id, takeover=True)

    with pytest.raises(PtyTakenOver):
        await output_until(first, b"never there")
    await second.write("echo mi''ne\n")
    assert b"mine" in await output_until(second, b"mine")
    await first.close()
    await second.close()


async def test_a_signal_reaches_what_runs(sandbox: Any) -> None:
    # A bash that is just about to wait for a long sleep would look at the signal only after it.
    nap = "while :; do sleep 0.1; done"
    session = await sandbox.pty.create(command=f"trap 'echo caught; exit 4' INT; echo up; {nap}")
    await output_until(session, b"up")
    await session.signal("SIGINT")
    await output_until(session, b"never there")
    await session.close()

    assert session.exit_code == 4
    with pytest.raises(InvalidArgumentException, match="SIGNOPE"):
        await session.signal("SIGNOPE")


async def test_a_terminal_that_is_deleted_is_gone(sandbox: Any) -> None:
    session = await sandbox.pty.create()
    await sandbox.pty.delete(session.session_id)
    with suppress(StopAsyncIteration):
        await output_until(session, b"never there")  # it ends
    await session.close()

    with pytest.raises(PtySessionGone):
        await sandbox.pty.attach(session.session_id)
    with pytest.raises(SandboxApiException):
        await sandbox.pty.status(session.session_id)
    with pytest.raises(InvalidArgumentException, match="4096"):
        await sandbox.pty.create(cols=0)


async def test_a_server_inside_is_waited_for(sandbox: Any) -> None:
    with pytest.raises(SandboxReadyTimeoutException, match="8123"):
        await sandbox.wait_for_port(8123, timeout=0.1)
    with pytest.raises(InvalidArgumentException):
        await sandbox.wait_for_port(0)
    await sandbox.commands.run("(sleep 0.3; exec python3 -m http.server 8123) >/dev/null 2>&1 &")

    endpoint = await sandbox.wait_for_port(8123, timeout=20)

    assert "8123" in endpoint.endpoint


async def test_any_answer_of_a_server_will_do(sandbox: Any) -> None:
    code = (
        "import http.server as h\n"
        "class B(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(s): s.send_error(502)\n"
        "h.HTTPServer(('127.0.0.1', 8124), B).serve_forever()\n"
    )
    await sandbox.files.write_file("/tmp/bad.py", code)
    await sandbox.commands.run("python3 /tmp/bad.py >/dev/null 2>&1 &")

    await sandbox.wait_for_port(8124, timeout=20)


async def test_a_server_that_speaks_no_http_is_found(sandbox: Any) -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 8125))\n"
        "while True:\n"
        "    peer, _ = server.accept()\n"
        "    peer.sendall(b'SSH-2.0-none\\r\\n')\n"
        "    peer.close()\n"
    )
    await sandbox.files.write_file("/tmp/other.py", code)
    await sandbox.commands.run("(sleep 0.2; exec python3 /tmp/other.py) >/dev/null 2>&1 &")

    await sandbox.wait_for_port(8125, timeout=20)
