"""Isolated sessions and files of an identity, with the vendor's own SDK; see ``scenario.py``."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from opensandbox import Sandbox
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.filesystem import WriteEntry
from opensandbox.models.isolated import (
    CreateIsolatedSessionRequest,
    IsolatedRunOpts,
    IsolatedWorkspaceSpec,
)

WORKSPACE = IsolatedWorkspaceSpec(path="/workspace", mode="rw")


async def sessions(sandbox: Sandbox) -> None:
    """Open one, run in it, use its files, find it again, end it."""
    assert (await sandbox.isolation.capabilities()).available
    session = await sandbox.isolation.create(CreateIsolatedSessionRequest(workspace=WORKSPACE))
    opts = IsolatedRunOpts(envs={"NAME": "two"}, timeout_seconds=20)
    execution = await session.run("echo one >kept; echo $NAME", opts=opts)
    assert (execution.exit_code, execution.text) == (0, "two"), execution
    assert (await session.run("exit 7")).exit_code == 7

    assert await session.files.read_file("/workspace/kept") == "one\n"
    await session.files.write_files([WriteEntry(path="/workspace/made", data="more")])
    assert await sandbox.files.read_file("/workspace/made") == "more"

    begun = await session.run_background("echo slow; exit 3")
    while (state := await session.run_status(begun.run_id)).running:
        await asyncio.sleep(0.05)
    assert state.exit_code == 3
    logs = await session.run_logs(begun.run_id)
    assert (logs.text, logs.cursor) == ("slow\n", 5)

    again = await sandbox.isolation.attach(session.session_id)
    assert again.info.workspace.path == "/workspace"
    assert (await again.get()).status == "active"
    listed = await sandbox.isolation.list()
    assert [one.session_id for one in listed] == [session.session_id]
    await session.delete()
    assert await sandbox.isolation.list() == []

    once = await sandbox.isolation.run_once("pwd", workspace="/workspace")
    assert once.text.strip() == "/workspace"


async def identities(sandbox: Sandbox) -> None:
    """The sandbox's one user works; another is refused."""
    assert await sandbox.files_with_identity(0, 0).read_file("/workspace/made") == "more"
    try:
        await sandbox.files_with_identity(1000, 1000).read_file("/workspace/made")
    except SandboxApiException as error:
        assert error.status_code == 501
    else:
        raise AssertionError("files of somebody else were read")


async def main() -> None:
    """Run it all."""
    sandbox = await Sandbox.create(
        "python",
        timeout=timedelta(minutes=5),
        extensions={"bootstrap.execd.isolation": "enable"},
    )
    try:
        await sessions(sandbox)
        await identities(sandbox)
    finally:
        await sandbox.kill()
        await sandbox.close()
    print("done")


asyncio.run(main())
