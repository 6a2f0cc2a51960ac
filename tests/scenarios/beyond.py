"""What our SDK has beyond the vendor's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from scenarios import sdk


async def gives_events_one_by_one(sandbox: Any) -> None:
    text = ""
    async for event in sandbox.commands.stream("echo one; sleep 0.2; echo two"):
        text += getattr(event, "text", "")
    assert text.split("\n")[:2] == ["one", "two"]
    async for _ in sandbox.commands.stream("echo begun; sleep 600", timeout=20):
        break
    execution = await sandbox.commands.run("exit 3", env={"A": "b"}, cwd="/tmp", timeout=20)
    assert execution.exit_code == 3
    try:
        await sandbox.commands.run("exit 3", check=True)
    except sdk.exceptions.CommandFailed as error:
        assert error.exit_code == 3
    else:
        raise AssertionError("nothing was raised")


async def copies_folders(sandbox: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder, "here")
        (here / "deep").mkdir(parents=True)
        (here / "deep" / "ä").write_bytes(bytes(3_000_000))
        (here / "empty").touch()
        sent = await sandbox.files.upload(here, "/tmp/copied")
        assert (sent.files, sent.size) == (2, 3_000_000)
        got = await sandbox.files.download("/tmp/copied", Path(folder, "back"))
        assert (got.files, got.size) == (2, 3_000_000)
        assert Path(folder, "back", "deep", "ä").stat().st_size == 3_000_000


async def writes_and_reads_streams(sandbox: Any) -> None:
    await sandbox.files.write_stream("/tmp/streamed", [b"one", b"two"], size=6)
    pieces = [one async for one in sandbox.files.read_stream("/tmp/streamed")]
    assert b"".join(pieces) == b"onetwo"


async def opens_a_terminal(sandbox: Any) -> None:
    session = await sdk.there(sandbox.pty.create())
    async with session:
        await session.resize(100, 30)
        await session.write("stty size\n")
        said = b""
        async for output in session.read():
            said += output.data
            if b"30 100" in said:
                break
    assert b"30 100" in said, said
    await sandbox.pty.delete(session.session_id)


async def waits_for_a_port(sandbox: Any) -> None:
    serve = "sleep 0.5; exec python3 -m http.server 18432 --directory /var/empty"
    opts = sdk.execd.RunCommandOpts(background=True)
    await sandbox.commands.run(f"mkdir -p /var/empty; {serve}", opts=opts)
    assert (await sandbox.wait_for_port(18432)).endpoint
