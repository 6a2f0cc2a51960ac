"""Commands and sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from scenarios import sdk

Opts = sdk.execd.RunCommandOpts


async def tells_output_as_it_comes(sandbox: Any) -> None:
    seen: list[tuple[str, str]] = []

    async def note(message: Any) -> None:
        seen.append((type(message).__name__, getattr(message, "text", "").strip()))

    execution = await sandbox.commands.run(
        "echo one; echo two >&2; sleep 0.3; echo $NAME; pwd",
        opts=Opts(envs={"NAME": "three"}, working_directory="/tmp"),
        handlers=sdk.handlers(
            on_init=note, on_stdout=note, on_stderr=note, on_execution_complete=note
        ),
    )
    assert (execution.exit_code, execution.text) == (0, "one\nthree\n/tmp"), execution
    assert "".join(one.text for one in execution.logs.stderr).strip() == "two"
    assert (execution.error, bool(execution.id), bool(execution.complete)) == (None, True, True)
    assert [kind for kind, _ in seen if kind != "OutputMessage"] == [
        "ExecutionInit", "ExecutionComplete",
    ]  # fmt: skip
    assert "one" in seen[1][1] or "one" in seen[2][1], seen


async def tells_how_a_command_failed(sandbox: Any) -> None:
    execution = await sandbox.commands.run("echo before; exit 9")
    assert (execution.exit_code, execution.text) == (9, "before")
    assert (execution.error.value, execution.complete) == ("9", None)
    assert (await sandbox.commands.run("no-such-program-anywhere")).exit_code == 127
    await sdk.refused(
        sandbox.commands.run("ls", opts=Opts(working_directory="/no/such/place")), 400
    )


async def gives_no_input(sandbox: Any) -> None:
    execution = await sandbox.commands.run("cat; read line; echo $?")
    assert (execution.exit_code, execution.text) == (0, "1")


async def runs_as_a_user(sandbox: Any) -> None:
    execution = await sandbox.commands.run("id -u; id -g", opts=Opts(uid=0, gid=0))
    assert execution.text.split() == ["0", "0"], execution


async def carries_every_script(sandbox: Any) -> None:
    text = "grüße, 世界 🎈 <&>\"' \\n $HOME"
    execution = await sandbox.commands.run(f"cat <<'END'\n{text}\nEND")
    assert execution.text == text
    execution = await sandbox.commands.run("printf '%s' 'no line end'")
    assert execution.text == "no line end"


async def runs_words_without_a_shell(sandbox: Any) -> None:
    try:
        execution = await sandbox.commands.run(["printf", "%s|%s", "a b", "$HOME"])
    except sdk.ApiError as error:
        if error.status_code == 400 and "'required'" in str(error):  # daemons before 1.1
            raise sdk.NotThere("a command as words") from error
        raise
    assert execution.text == "a b|$HOME"


async def carries_much_output(sandbox: Any) -> None:
    count, size = 20_000, 100
    execution = await sandbox.commands.run(f"yes {'x' * size} | head -n {count}")
    lines = execution.text.split("\n")
    assert (len(lines), {*lines}) == (count, {"x" * size})
    execution = await sandbox.commands.run("head -c 3000000 /dev/zero | tr '\\0' y")
    assert "".join(execution.text.split()) == "y" * 3_000_000  # the vendor's may break it

    async def drop(_: Any) -> None:
        """Keep nothing."""

    quiet = sdk.handlers(on_stdout=drop)
    quiet.skip_accumulation = True
    execution = await sandbox.commands.run("seq 1000", handlers=quiet)
    assert (execution.exit_code, list(execution.logs.stdout)) == (0, [])


async def ends_a_command_in_time(sandbox: Any) -> None:
    execution = await sandbox.commands.run(
        "echo begun; sleep 600", opts=Opts(timeout=timedelta(seconds=1))
    )
    assert execution.text == "begun"
    assert execution.error is not None
    assert execution.exit_code != 0


async def interrupts_a_command_that_is_waited_for(sandbox: Any) -> None:
    known: list[str] = []

    async def begin(message: Any) -> None:
        known.append(message.id)

    async def stop(_: Any) -> None:
        await sandbox.commands.interrupt(known[0])

    execution = await sandbox.commands.run(
        "echo begun; sleep 600", handlers=sdk.handlers(on_init=begin, on_stdout=stop)
    )
    assert (execution.id, execution.text) == (known[0], "begun")
    assert execution.exit_code != 0


async def keeps_output_of_the_background(sandbox: Any) -> None:
    run = await sandbox.commands.run(
        "echo one; echo two >&2; sleep 1; echo three; exit 3", opts=Opts(background=True)
    )
    assert (bool(run.id), run.exit_code) == (True, None)

    async def logs() -> Any:
        return await sandbox.commands.get_background_command_logs(run.id)

    first = await sdk.until(logs, lambda found: "two" in found.content)

    async def status() -> Any:
        return await sandbox.commands.get_command_status(run.id)

    ended = await sdk.until(status, lambda found: not found.running)
    assert (ended.id, ended.exit_code) == (run.id, 3)
    assert ended.started_at <= ended.finished_at
    whole = await sdk.until(logs, lambda found: "three" in found.content)
    assert whole.content.split() == ["one", "two", "three"]
    rest = await sandbox.commands.get_background_command_logs(run.id, first.cursor)
    assert rest.content == whole.content[first.cursor :]
    assert rest.cursor == whole.cursor == len(whole.content)


async def interrupts_the_background(sandbox: Any) -> None:
    run = await sandbox.commands.run("sleep 600", opts=Opts(background=True))
    assert (await sandbox.commands.get_command_status(run.id)).running
    await sandbox.commands.interrupt(run.id)

    async def status() -> Any:
        return await sandbox.commands.get_command_status(run.id)

    await sdk.until(status, lambda found: not found.running)


async def knows_its_commands(sandbox: Any) -> None:
    await sdk.refused(sandbox.commands.get_command_status("none"), 404)
    await sdk.refused(sandbox.commands.get_background_command_logs("none"), 400, 404)
    await sdk.refused(sandbox.commands.interrupt("none"))


async def sets_a_variable_for_later(sandbox: Any) -> None:
    await sandbox.commands.set_env("KEPT", "later")
    await sandbox.commands.set_env("LONG", "two words")
    kept = (await sandbox.commands.run("echo $KEPT; echo $LONG")).text
    if kept.endswith("'two words'"):  # daemons before 1.1 take quotes for a part of the value
        raise sdk.NotThere("values that need quotes")
    assert kept == "later\ntwo words"


async def keeps_a_session(sandbox: Any) -> None:
    session = await sandbox.commands.create_session(working_directory="/tmp")
    run = sandbox.commands.run_in_session
    assert (await run(session, "pwd")).text == "/tmp"
    await run(session, "export WORD=kept; cd /usr")
    execution = await run(session, "echo $WORD; pwd")
    assert (execution.exit_code, execution.text) == (0, "kept\n/usr")
    assert (await run(session, "pwd", working_directory="/var")).text == "/var"
    assert (await run(session, "(exit 4)")).exit_code == 4
    seen: list[str] = []

    async def note(message: Any) -> None:
        seen.append(message.text.strip())

    await run(session, "echo seen", handlers=sdk.handlers(on_stdout=note))
    assert seen == ["seen"]
    try:
        late = await run(session, "while :; do :; done", timeout=timedelta(seconds=1))
        assert late.exit_code != 0
    except sdk.ApiError as error:  # daemons before 1.1 tell it as a fault of their own
        assert "timeout" in str(error), error
    assert (await run(session, "echo $WORD")).text == "kept"
    await sandbox.commands.delete_session(session)
    await sdk.refused(run(session, "pwd"))
    await sdk.refused(sandbox.commands.delete_session(session), 404)
