"""Commands, in both colours, on the embedded server."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing, closing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from opensandbox_jupyter import Sandbox, SandboxSync
from opensandbox_jupyter.exceptions import (
    CommandFailed,
    InvalidArgumentException,
    SandboxApiException,
)
from opensandbox_jupyter.models.execd import ExecutionHandlers, OutputMessage, RunCommandOpts


async def test_output_exit_code_and_id(sandbox: Any) -> None:
    execution = await sandbox.commands.run("echo out; echo err >&2; exit 3")

    assert (execution.stdout, execution.stderr) == ("out\n", "err\n")
    assert (execution.exit_code, execution.error.value) == (3, "3")
    assert len(execution.id) == 32


async def test_blank_lines_and_a_missing_last_line_end_survive(sandbox: Any) -> None:
    execution = await sandbox.commands.run("printf 'a\\n\\n\\nb'")

    assert execution.stdout == "a\n\n\nb"
    assert execution.text == "a\n\n\nb"


async def test_a_list_runs_without_a_shell(sandbox: Any) -> None:
    execution = await sandbox.commands.run(["printf", "%s", "$HOME; `x`"])

    assert execution.stdout == "$HOME; `x`"


async def test_options_reach_the_command(sandbox: Any) -> None:
    opts = RunCommandOpts(working_directory="/tmp", envs={"A": "b c"})

    execution = await sandbox.commands.run('pwd; echo "$A"', opts=opts)

    assert execution.stdout == "/tmp\nb c\n"


async def test_a_directory_that_is_not_there_is_named(sandbox: Any) -> None:
    with pytest.raises(SandboxApiException, match="/no/such"):
        await sandbox.commands.run("true", opts=RunCommandOpts(working_directory="/no/such"))


async def test_a_time_limit_kills(sandbox: Any) -> None:
    opts = RunCommandOpts(timeout=timedelta(seconds=0.3))

    execution = await sandbox.commands.run("echo started; sleep 600", opts=opts)

    assert execution.stdout == "started\n"
    assert execution.exit_code == -1


async def test_check_raises_with_the_last_lines(sandbox: Any) -> None:
    with pytest.raises(CommandFailed, match="it broke") as caught:
        await sandbox.commands.run("echo it broke >&2; exit 7", check=True)

    assert (caught.value.exit_code, caught.value.tail) == (7, "it broke")
    assert (await sandbox.commands.run("true", check=True)).exit_code == 0


@pytest.mark.parametrize("command", ["", "  ", []])
async def test_an_empty_command_is_refused(sandbox: Any, command: object) -> None:
    with pytest.raises(InvalidArgumentException, match="empty"):
        await sandbox.commands.run(command)


async def test_handlers_see_events_while_the_command_runs(sandbox: Any) -> None:
    seen: list[tuple[str, object]] = []
    gate = "/workspace/gate"

    def note(kind: str) -> Any:
        return lambda event: seen.append((kind, getattr(event, "text", None)))

    handlers = ExecutionHandlers(
        on_init=note("init"),
        on_stdout=note("out"),
        on_stderr=note("err"),
        on_error=note("error"),
        on_execution_complete=note("complete"),
        skip_accumulation=True,
    )
    command = f"echo first; while [ ! -e {gate} ]; do sleep 0.01; done; echo last"

    async def open_gate() -> None:
        while ("out", "first\n") not in seen:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(make_gate)

    def make_gate() -> None:
        with SandboxSync.connect(sandbox.id) as other:
            other.files.write_file(gate, "")

    thread = threading.Thread(target=asyncio.run, args=(open_gate(),))
    thread.start()
    execution = await sandbox.commands.run(command, handlers=handlers)
    thread.join()

    assert [kind for kind, _ in seen] == ["init", "out", "out", "complete"]
    assert execution.logs.stdout == []
    assert execution.exit_code == 0


async def test_output_comes_line_by_line_or_as_it_was_sent(sandbox: Any) -> None:
    """A line that is long in coming may come in two, and no message holds more than one."""
    whole = "".join(f"{number}\n" for number in range(30_000)) + "the rest"
    command = "seq 0 29999; printf 'the rest'"
    seen: list[str] = []
    by_line = ExecutionHandlers(on_stdout=lambda message: seen.append(message.text))
    execution = await sandbox.commands.run(command, handlers=by_line)
    for texts in (seen, [message.text for message in execution.logs.stdout]):
        assert "".join(texts) == whole
        assert not any("\n" in text[:-1] for text in texts)

    seen.clear()
    in_pieces = ExecutionHandlers(on_stdout=by_line.on_stdout, in_pieces=True)
    await sandbox.commands.run(command, handlers=in_pieces)
    assert "".join(seen) == whole
    assert len(seen) < 3000


async def test_an_error_in_a_handler_ends_the_command(sandbox: Any) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await sandbox.commands.run(
            "echo x; exec sleep 4242", handlers=ExecutionHandlers(on_stdout=explode)
        )

    assert await processes(sandbox, "sleep 4242") == ""


async def test_async_handlers_are_awaited(sdk: SimpleNamespace, sandbox: Any) -> None:
    seen = []

    async def note(message: Any) -> None:
        await asyncio.sleep(0)
        seen.append(message.text)

    handlers = ExecutionHandlers(on_stdout=note)
    if sdk.name == "blocking":
        with pytest.raises(InvalidArgumentException, match="async handler"):
            await sandbox.commands.run("echo x", handlers=handlers)
    else:
        await sandbox.commands.run("echo x", handlers=handlers)
        assert seen == ["x\n"]


async def test_a_background_command_is_followed_by_its_cursor(sandbox: Any) -> None:
    script = "echo one; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo two; exit 5"
    execution = await sandbox.commands.run(script, opts=RunCommandOpts(background=True))
    assert execution.exit_code is None

    logs = await sandbox.commands.get_background_command_logs(execution.id)
    while not logs.content:
        logs = await sandbox.commands.get_background_command_logs(execution.id)
    status = await sandbox.commands.get_command_status(execution.id)
    assert (logs.content, status.running, status.exit_code) == ("one\n", True, None)

    await sandbox.files.write_file("/tmp/go", "")
    while (await sandbox.commands.get_command_status(execution.id)).running:
        await asyncio.sleep(0.02)
    rest = await sandbox.commands.get_background_command_logs(execution.id, logs.cursor)
    status = await sandbox.commands.get_command_status(execution.id)
    assert (rest.content, status.exit_code) == ("two\n", 5)
    assert status.finished_at >= status.started_at


async def test_interrupt_ends_a_command_and_its_children(sandbox: Any) -> None:
    started = await sandbox.commands.run(
        "sh -c 'sleep 4343 & wait' & wait", opts=RunCommandOpts(background=True)
    )
    while not await processes(sandbox, "sleep 4343"):
        await asyncio.sleep(0.02)

    await sandbox.commands.interrupt(started.id)

    assert await processes(sandbox, "sleep 4343") == ""
    assert (await sandbox.commands.get_command_status(started.id)).running is False


@pytest.mark.parametrize("call", ["interrupt", "get_command_status", "get_background_command_logs"])
async def test_an_unknown_execution_is_said_to_be_one(sandbox: Any, call: str) -> None:
    with pytest.raises(SandboxApiException) as caught:
        await getattr(sandbox.commands, call)("f" * 32)
    assert caught.value.status_code == 404

    with pytest.raises(InvalidArgumentException, match="empty"):
        await getattr(sandbox.commands, call)(" ")


async def test_cancelling_the_wait_ends_the_command(embedded: Any) -> None:
    async with await Sandbox.create("base") as sandbox:
        running = asyncio.Event()
        task = asyncio.create_task(
            sandbox.commands.run(
                "echo x; exec sleep 4444",
                handlers=ExecutionHandlers(on_stdout=lambda _: running.set()),
            )
        )
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await processes(sandbox, "sleep 4444") == ""
        await sandbox.kill()


async def test_many_at_once_keep_their_outputs_apart(embedded: Any) -> None:
    async with await Sandbox.create("base") as sandbox:
        runs = [sandbox.commands.run(f"echo {n}; sleep 0.1; echo {n}") for n in range(50)]
        executions = await asyncio.gather(*runs)

        assert [e.stdout for e in executions] == [f"{n}\n{n}\n" for n in range(50)]
        await sandbox.kill()


async def test_a_sandbox_killed_in_the_middle_ends_the_wait_with_an_error(sandbox: Any) -> None:
    def kill(_: object) -> None:
        threading.Thread(target=kill_now).start()

    def kill_now() -> None:
        time.sleep(0.1)
        with SandboxSync.connect(sandbox.id) as other:
            other.kill()

    from opensandbox_jupyter.exceptions import SandboxConnectionException

    with pytest.raises(SandboxConnectionException) as caught:
        await sandbox.commands.run("echo x; sleep 600", handlers=ExecutionHandlers(on_stdout=kill))
    assert "get_info" in caught.value.hint


async def test_a_huge_output_arrives_whole(sandbox: Any) -> None:
    execution = await sandbox.commands.run("seq 300000")

    lines = execution.stdout.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (300000, "1", "300000")


async def processes(sandbox: Any, command: str) -> str:
    """Return the processes of ``command`` inside, as one text."""
    first, rest = command[0], command[1:]
    execution = await sandbox.commands.run(
        f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '[{first}]{rest}' || true"
    )
    return str(execution.stdout)


async def test_options_beside_opts(sandbox: Any) -> None:
    said: list[str] = []
    execution = await sandbox.commands.run(
        "pwd; echo $MINE; echo oops >&2",
        cwd="/tmp",
        env={"MINE": "yes"},
        timeout=30,
        on_stdout=lambda message: said.append(message.text),
        on_stderr=lambda message: said.append(message.text),
    )
    assert execution.stdout == "/tmp\nyes\n"
    assert sorted("".join(said).split()) == ["/tmp", "oops", "yes"]
    killed = await sandbox.commands.run("sleep 60", timeout=0.2)
    assert killed.exit_code == -1
    twice: list[dict[str, Any]] = [
        {"opts": RunCommandOpts(working_directory="/"), "cwd": "/tmp"},
        {"handlers": ExecutionHandlers(on_stdout=print), "on_stdout": print},
        {"timeout": "soon"},
        {"timeout": -1},
    ]
    for given in twice:
        with pytest.raises(InvalidArgumentException):
            await sandbox.commands.run("true", **given)


async def test_a_stream_gives_events_and_keeps_none(sandbox: Any) -> None:
    kinds, text = [], ""
    async for event in sandbox.commands.stream("echo $A; exit 3", env={"A": "b"}):
        kinds.append(type(event).__name__)
        text += getattr(event, "text", "")
    assert (kinds[0], kinds[-1]) == ("ExecutionInit", "ExecutionError")
    assert text == "b\n"


@pytest.mark.parametrize("keep_running", [False, True])
async def test_who_leaves_a_stream_ends_the_command(
    sdk: SimpleNamespace, sandbox: Any, keep_running: bool
) -> None:
    command = "echo up; exec sleep 4711"
    if sdk.name == "async":
        async with aclosing(sandbox.commands.stream(command, keep_running=keep_running)) as events:
            async for event in events:
                if isinstance(event, OutputMessage):
                    break
    else:
        blocking = sandbox._inner.commands
        with closing(blocking.stream(command, keep_running=keep_running)) as events:
            assert any(isinstance(event, OutputMessage) for event in events)
    left = await sandbox.commands.run("pgrep -fc '^sleep 4711' || true")
    assert left.text == ("1" if keep_running else "0")


async def test_what_shall_go_on_outlives_its_handler(sandbox: Any) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("boom")

    commands = sandbox.commands
    session = await commands.create_session()
    runs = [
        lambda **more: commands.run("echo x; exec sleep 4801", on_stdout=explode, **more),
        lambda **more: commands.run_in_session(
            session, "echo x; sleep 4801", on_stdout=explode, **more
        ),
        lambda **more: sandbox.codes.run(
            "echo x; sleep 4801", language="bash", on_stdout=explode, **more
        ),
    ]
    for number, run in enumerate(runs, 1):
        with pytest.raises(RuntimeError, match="boom"):
            await run(keep_running=True)
        count = "pgrep -fc '^sleep 4801'"
        left = await commands.run(f"until [ $({count}) -ge {number} ]; do sleep 0.1; done; {count}")
        assert left.text == str(number)


async def test_a_session_streams_and_its_reader_slows_it_down(sandbox: Any) -> None:
    session = await sandbox.commands.create_session()
    text = ""
    async for event in sandbox.commands.stream_in_session(session, "seq 20000; cd /tmp"):
        text += getattr(event, "text", "") if isinstance(event, OutputMessage) else ""
    assert text == "".join(f"{n}\n" for n in range(1, 20001))
    assert (await sandbox.commands.run_in_session(session, "pwd", timeout=9.5)).text == "/tmp"
    for nonsense in (-1, "soon", float("nan")):
        with pytest.raises(InvalidArgumentException, match="length of time"):
            await sandbox.commands.run_in_session(session, "true", timeout=nonsense)


async def test_of_an_endless_output_only_so_much_is_kept(sandbox: Any) -> None:
    session = await sandbox.commands.create_session()
    command = "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end"
    for execution in (
        await sandbox.commands.run(command, keep_output=1000),
        await sandbox.commands.run_in_session(session, command, keep_output=1000),
        await sandbox.codes.run(command, language="bash", keep_output=1000),
    ):
        assert execution.stdout.startswith("x" * 500 + "\n[... 29999005 characters are left out")
        assert execution.stdout.endswith("x" * 495 + "\nend\n")
        assert execution.logs.dropped_characters == 29_999_005
    for nonsense in (-1, True, "all", 1.5):
        with pytest.raises(InvalidArgumentException, match="keep_output"):
            await sandbox.commands.run("true", keep_output=nonsense)
