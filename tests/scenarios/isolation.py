"""Sessions with walls of their own inside a sandbox."""

from __future__ import annotations

from typing import Any

from scenarios import sdk

EXTENSIONS = {"bootstrap.execd.isolation": "enable"}


async def _walls() -> Any:
    sandbox = await sdk.create(extensions=EXTENSIONS)
    if not (await sdk.there(sandbox.isolation.capabilities())).available:
        raise sdk.NotThere("this sandbox has no walls inside")
    await sandbox.files.create_directories([sdk.filesystem.WriteEntry(path="/workspace")])
    return sandbox


def _request(mode: str = "rw") -> Any:
    workspace = sdk.isolated.IsolatedWorkspaceSpec(path="/workspace", mode=mode)
    return sdk.isolated.CreateIsolatedSessionRequest(workspace=workspace)


async def runs_behind_walls() -> None:
    sandbox = await _walls()
    session = await sandbox.isolation.create(_request())
    opts = sdk.isolated.IsolatedRunOpts(envs={"NAME": "two"}, timeout_seconds=20)
    execution = await session.run("echo one >kept; echo $NAME", opts=opts)
    assert (execution.exit_code, execution.text) == (0, "two"), execution
    assert (await session.run("exit 7")).exit_code == 7
    assert await session.files.read_file("/workspace/kept") == "one\n"
    await session.files.write_file("/workspace/made", "more")
    assert await sandbox.files.read_file("/workspace/made") == "more"
    await session.delete()
    await sandbox.destroy()


async def runs_in_the_background_behind_walls() -> None:
    sandbox = await _walls()
    async with sandbox.isolation.session(_request()) as session:
        begun = await session.run_background("echo slow; exit 3")

        async def status() -> Any:
            return await session.run_status(begun.run_id)

        assert (await sdk.until(status, lambda found: not found.running)).exit_code == 3
        logs = await session.run_logs(begun.run_id)
        assert (logs.text, logs.cursor) == ("slow\n", 5)
    await sandbox.destroy()


async def finds_its_sessions_again() -> None:
    sandbox = await _walls()
    session = await sandbox.isolation.create(_request())
    again = await sandbox.isolation.attach(session.session_id)
    assert again.info.workspace.path == "/workspace"
    assert (await again.get()).status == "active"
    assert [one.session_id for one in await sandbox.isolation.list()] == [session.session_id]
    await session.delete()
    assert await sandbox.isolation.list() == []
    once = await sandbox.isolation.run_once("pwd", workspace="/workspace")
    assert once.text.strip() == "/workspace"
    await sandbox.destroy()
