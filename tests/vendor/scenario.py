"""One long scenario with the vendor's own SDK, unmodified; run in its own virtual environment.

The server is named by ``OPEN_SANDBOX_DOMAIN`` and ``OPEN_SANDBOX_API_KEY``. Prints ``done`` at the
end, and fails with a traceback at the first thing that is not as it should be.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

from opensandbox import Sandbox, SandboxManager, SandboxManagerSync, SandboxSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.execd import ExecutionHandlers, RunCommandOpts
from opensandbox.models.filesystem import (
    ContentReplaceEntry,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)
from opensandbox.models.sandboxes import NetworkRule, SandboxFilter


async def commands(sandbox: Sandbox) -> None:
    """Run with streaming handlers, in the foreground and in the background."""
    seen: list[str] = []

    async def note(message: object) -> None:
        seen.append(getattr(message, "text", type(message).__name__))

    handlers = ExecutionHandlers(
        on_init=note, on_stdout=note, on_stderr=note, on_execution_complete=note
    )
    execution = await sandbox.commands.run(
        "echo one; echo two >&2; echo $NAME",
        opts=RunCommandOpts(envs={"NAME": "three"}, working_directory="/tmp"),
        handlers=handlers,
    )
    assert execution.exit_code == 0
    assert execution.text == "one\nthree"
    assert sorted(seen[1:4]) == ["one\n", "three\n", "two\n"], seen
    assert (await sandbox.commands.run("exit 9")).exit_code == 9

    background = await sandbox.commands.run(
        "echo started; sleep 600", opts=RunCommandOpts(background=True)
    )
    while not (await sandbox.commands.get_background_command_logs(background.id)).content:
        await asyncio.sleep(0.05)
    assert (await sandbox.commands.get_command_status(background.id)).running
    await sandbox.commands.interrupt(background.id)
    assert not (await sandbox.commands.get_command_status(background.id)).running

    await sandbox.commands.set_env("KEPT", "for later")
    assert (await sandbox.commands.run("echo $KEPT")).text == "for later"


async def files(sandbox: Sandbox) -> None:
    """Write, read, search, replace, move, change and delete."""
    await sandbox.files.write_file("/tmp/v/a.txt", "hällo wörld", mode=644)
    await sandbox.files.write_files([WriteEntry(path="/tmp/v/b.bin", data=b"\0\1" * 50_000)])
    assert await sandbox.files.read_file("/tmp/v/a.txt") == "hällo wörld"
    assert await sandbox.files.read_bytes("/tmp/v/b.bin") == b"\0\1" * 50_000
    pieces = [p async for p in await sandbox.files.read_bytes_stream("/tmp/v/b.bin")]
    assert b"".join(pieces) == b"\0\1" * 50_000
    found = await sandbox.files.search(SearchEntry(path="/tmp/v", pattern="*.txt"))
    assert [entry.path for entry in found] == ["/tmp/v/a.txt"]
    await sandbox.files.replace_contents(
        [ContentReplaceEntry(path="/tmp/v/a.txt", old_content="hällo", new_content="bye")]
    )
    await sandbox.files.move_files([MoveEntry(src="/tmp/v/a.txt", dest="/tmp/v/c/d.txt")])
    await sandbox.files.set_permissions([SetPermissionEntry(path="/tmp/v/c/d.txt", mode=600)])
    info = (await sandbox.files.get_file_info(["/tmp/v/c/d.txt"]))["/tmp/v/c/d.txt"]
    assert (info.mode, info.size) == (600, 10)
    await sandbox.files.create_directories([WriteEntry(path="/tmp/v/e")])
    await sandbox.files.delete_files(["/tmp/v/b.bin"])
    await sandbox.files.delete_directories(["/tmp/v"])
    try:
        await sandbox.files.read_file("/tmp/v/c/d.txt")
    except SandboxApiException as error:
        assert error.status_code == 404
    else:
        raise AssertionError("a deleted file was read")


async def egress(sandbox: Sandbox) -> None:
    """Read the network policy, put a rule first, take it away."""
    assert (await sandbox.get_egress_policy()).default_action == "allow"
    await sandbox.patch_egress_rules([NetworkRule(action="deny", target="*.a.test")])
    (rule,) = (await sandbox.get_egress_policy()).egress
    assert (rule.action, rule.target) == ("deny", "*.a.test")
    refused = await sandbox.commands.run(
        "curl -s -o /dev/null -w '%{http_code}' http://b.a.test/; echo; echo $HTTPS_PROXY"
    )
    assert refused.text.split() == ["403", "http://127.0.0.1:3128"]
    await sandbox.delete_egress_rules(["*.a.test"])
    assert not (await sandbox.get_egress_policy()).egress


async def life(sandbox: Sandbox, tag: str) -> None:
    """Metrics, pause, resume, renew, endpoint, list by metadata."""
    metrics = await sandbox.get_metrics()
    assert metrics.memory_total_in_mib > 0
    assert (await sandbox.get_endpoint(8080)).endpoint
    assert await sandbox.is_healthy()
    await sandbox.renew(timedelta(minutes=20))
    await sandbox.pause()
    assert (await sandbox.get_info()).status.state == "Paused"
    resumed = await Sandbox.resume(sandbox.id)
    assert (await resumed.commands.run("echo awake")).text == "awake"
    await resumed.close()

    manager = await SandboxManager.create()
    page = await manager.list_sandbox_infos(SandboxFilter(metadata={"tag": tag}))
    assert [info.id for info in page.sandbox_infos] == [sandbox.id]
    await manager.close()


def blocking(tag: str) -> None:
    """The same SDK's blocking side, briefly."""
    with SandboxSync.create("python:3", metadata={"tag": tag}) as sandbox:
        assert sandbox.commands.run("python3 -c 'print(6 * 7)'").text == "42"
        with SandboxManagerSync.create() as manager:
            manager.kill_sandbox(sandbox.id)
            page = manager.list_sandbox_infos(SandboxFilter(metadata={"tag": tag}))
        assert page.sandbox_infos == []


async def main() -> None:
    tag = uuid.uuid4().hex[:12]
    sandbox = await Sandbox.create(
        "python:3", timeout=timedelta(minutes=5), metadata={"tag": tag}, env={"A": "b"}
    )
    async with sandbox:
        await commands(sandbox)
        await files(sandbox)
        await egress(sandbox)
        await life(sandbox, tag)
        await sandbox.kill()
    await asyncio.to_thread(blocking, f"{tag}b")
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
