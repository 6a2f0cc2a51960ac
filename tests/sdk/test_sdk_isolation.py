"""Walls inside a sandbox, in both colours."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import (
    CommandFailed,
    InvalidArgumentException,
    SandboxApiException,
)
from opensandbox_jupyter.models.execution import ExecutionHandlers
from opensandbox_jupyter.models.isolated import (
    BindMount,
    CreateIsolatedSessionRequest,
    IsolatedRunOpts,
    IsolatedWorkspaceSpec,
)

ENABLED = {"bootstrap.execd.isolation": "enable"}
WORKSPACE = IsolatedWorkspaceSpec(path="/workspace", mode="rw")


async def test_sessions_from_create_to_delete(sdk: SimpleNamespace) -> None:
    sandbox = await sdk.Sandbox.create("python", timeout=timedelta(minutes=5), extensions=ENABLED)
    isolation = sandbox.isolation
    assert (await isolation.capabilities()).available
    await sandbox.commands.run("mkdir /srv/shown && echo shown > /srv/shown/file")
    binds = [BindMount(source="/srv/shown", dest="/shown", readonly=True)]
    wanted = CreateIsolatedSessionRequest(workspace=WORKSPACE, binds=binds)
    session = await isolation.create(wanted)
    assert session.info.binds == binds

    said: list[str] = []
    execution = await session.run(
        "cat /shown/file; echo x > /shown/file; echo $MINE; exit 3",
        opts=IsolatedRunOpts(envs={"MINE": "yes"}),
        handlers=ExecutionHandlers(on_stdout=lambda message: said.append(message.text)),
    )
    assert (execution.exit_code, execution.id) == (3, None)
    assert "shown" in execution.stdout
    assert "yes" in execution.stdout
    assert "".join(said) == execution.stdout

    await session.files.write_file("/workspace/from-outside", "text")
    assert (await session.run("cat /workspace/from-outside")).text == "text"

    run = await session.run_background("echo begin; sleep 0.2; echo end")
    for _ in range(200):
        if not (await session.run_status(run.run_id)).running:
            break
        await asyncio.sleep(0.05)
    logs = await session.run_logs(run.run_id)
    assert (logs.text, logs.cursor) == ("begin\nend\n", 10)
    assert (await session.run_logs(run.run_id, 6)).text == "end\n"

    assert session.session_id in {one.session_id for one in await isolation.list()}
    same = await isolation.attach(session.session_id)
    assert (await same.get()).status == "active"
    await same.delete()
    with pytest.raises(SandboxApiException):
        await session.run("true")
    once = await isolation.run_once("pwd", workspace="/workspace", workspace_mode="rw")
    assert once.exit_code == 0
    assert await isolation.list() == []
    await runs_that_nobody_waits_for(sandbox, await isolation.create(wanted))
    await sandbox.destroy()


async def runs_that_nobody_waits_for(sandbox: Any, session: Any) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("boom")

    async def left() -> str:
        return str((await session.run("pgrep -fc '^sleep 4802' || true")).text)

    with pytest.raises(RuntimeError, match="boom"):
        await session.run("echo x; sleep 4802", on_stdout=explode, keep_running=True)
    assert await left() == "1"
    with pytest.raises(RuntimeError, match="boom"):
        await session.run("pkill sleep; echo x; sleep 4802", on_stdout=explode)
    while await left() != "0":
        await asyncio.sleep(0.02)

    with pytest.raises(CommandFailed, match="exit code 9"):
        await session.run("exit 9", check=True, env={"A": "b"})
    assert (await session.run("sleep 60", timeout=0.5)).exit_code == -1
    with pytest.raises(InvalidArgumentException, match="twice"):
        await session.run("true", opts=IsolatedRunOpts(timeout_seconds=1), timeout=1)
    kinds = [type(event).__name__ async for event in session.stream("echo x")]
    assert kinds == ["OutputMessage", "ExecutionComplete"]


async def test_without_the_extension_it_says_which(sandbox: Any) -> None:
    assert not (await sandbox.isolation.capabilities()).available
    with pytest.raises(SandboxApiException, match=r"bootstrap\.execd\.isolation") as caught:
        await sandbox.isolation.create(CreateIsolatedSessionRequest(workspace=WORKSPACE))
    assert caught.value.status_code == 503
