"""Code, sessions and variables, in both colours of the SDK, on the embedded server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opensandbox_jupyter import Sandbox, SandboxSync
from opensandbox_jupyter.code_interpreter import (
    CodeContext,
    CodeInterpreter,
    CodeInterpreterSync,
    SupportedLanguage,
)
from opensandbox_jupyter.exceptions import (
    CommandFailed,
    InvalidArgumentException,
    SandboxApiException,
)
from opensandbox_jupyter.models.execd import ExecutionHandlers


async def test_code_keeps_its_state_and_all_that_it_shows(sandbox: Any) -> None:
    codes = sandbox.codes
    assert await codes.ping()
    shown: list[str | None] = []
    execution = await codes.run(
        "from IPython.display import HTML\nx = 41\nprint('out')\nHTML('<b>x</b>')",
        handlers=ExecutionHandlers(on_result=lambda result: shown.append(result.text)),
    )
    assert execution.stdout == "out\n"
    assert execution.result[0].extra_properties == {"text/html": "<b>x</b>"}
    assert shown == ["<IPython.core.display.HTML object>"]
    assert (await codes.run("x + 1")).text == "42"
    failed = await codes.run("1 / 0")
    assert failed.error is not None
    assert failed.error.name == "ZeroDivisionError"
    assert failed.error.traceback


async def test_contexts(sandbox: Any) -> None:
    codes = sandbox.codes
    context = await codes.create_context(SupportedLanguage.PYTHON)
    assert context.id
    await codes.run("y = 5", context=context)
    assert (await codes.run("y", context=context)).text == "5"
    assert (await codes.get_context(context.id)).language == "python"
    assert context.id in {one.id for one in await codes.list_contexts("python")}
    assert (await codes.run("echo $((2 + 3))", language="bash")).text == "5"
    with pytest.raises(InvalidArgumentException, match="one of python"):
        await codes.run("x", language="bash", context=context)
    with pytest.raises(InvalidArgumentException, match="empty"):
        await codes.run(" ")
    await codes.delete_context(context.id)
    with pytest.raises(SandboxApiException) as caught:
        await codes.run("y", context=CodeContext(id=context.id, language="python"))
    assert caught.value.status_code == 404
    await codes.delete_contexts("bash")


async def test_a_wait_that_is_cancelled_interrupts_the_code(sdk: Any, sandbox: Any) -> None:
    if sdk.name != "async":
        pytest.skip("a blocking call is interrupted, not cancelled")
    context = await sandbox.codes.create_context("python")
    code = "import time\nprint('on', flush=True)\ntime.sleep(60)"
    began = asyncio.Event()
    handlers = ExecutionHandlers(on_stdout=lambda _: began.set())
    task = asyncio.create_task(sandbox.codes.run(code, context=context, handlers=handlers))
    await asyncio.wait_for(began.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sandbox.codes.run("'free'", context=context)).text == "'free'"


async def test_an_interpreter_wraps_a_sandbox(embedded: object) -> None:
    async with await Sandbox.create("python") as sandbox:
        async with await CodeInterpreter.create(sandbox) as interpreter:
            assert interpreter.id == sandbox.id
            assert (await interpreter.codes.run("sum(range(5))")).text == "10"
            assert await interpreter.is_healthy()
        assert await sandbox.is_healthy()
        await sandbox.kill()


def test_a_blocking_interpreter_wraps_a_sandbox(embedded: object) -> None:
    with SandboxSync.create("python") as sandbox:
        with CodeInterpreterSync.create(sandbox) as interpreter:
            assert interpreter.codes.run("sum(range(5))").text == "10"
            assert interpreter.commands.run("echo too").stdout == "too\n"
            assert interpreter.files.write_file("/workspace/x", "y") is None
        assert sandbox.is_healthy()
        sandbox.kill()


async def test_sessions(sandbox: Any) -> None:
    commands = sandbox.commands
    session = await commands.create_session(working_directory="/tmp/new/place")
    await commands.run_in_session(session, "kept=1; f() { echo f$kept; }")
    again = await commands.run_in_session(session, "f; pwd", check=True)
    assert again.stdout == "f1\n/tmp/new/place\n"
    failed = await commands.run_in_session(session, "false")
    assert failed.exit_code == 1
    with pytest.raises(CommandFailed):
        await commands.run_in_session(session, "false", check=True)
    await commands.delete_session(session)
    with pytest.raises(SandboxApiException) as caught:
        await commands.run_in_session(session, "true")
    assert caught.value.status_code == 404


async def test_variables_stay(sandbox: Any) -> None:
    for value in ("plain", "two words $HOME", 'a "quote"', "it's", "back\\slash", ""):
        await sandbox.commands.set_env("KEPT", value)
        assert (await sandbox.commands.run('printf %s "$KEPT"')).stdout == value


@pytest.mark.parametrize(("key", "value"), [("1x", "y"), ("A=B", "y"), ("", "y"), ("A", "x\0")])
async def test_what_is_no_variable(sandbox: Any, key: str, value: str) -> None:
    with pytest.raises(InvalidArgumentException):
        await sandbox.commands.set_env(key, value)


async def test_checked_code_raises_what_it_raised(sandbox: Any) -> None:
    with pytest.raises(CommandFailed, match="ZeroDivisionError: division by zero") as caught:
        await sandbox.codes.run("import sys; sys.stderr.write('why'); 1 / 0", check=True)
    assert caught.value.exit_code is None
    assert caught.value.tail == "why"
    assert caught.value.execution.error.name == "ZeroDivisionError"
    assert (await sandbox.codes.run("2", check=True)).text == "2"


async def test_code_streams_its_events(sandbox: Any) -> None:
    kinds = [type(event).__name__ async for event in sandbox.codes.stream("print('out')\n'value'")]
    assert kinds[:2] == ["ExecutionInit", "OutputMessage"]
    assert kinds[-2:] == ["ExecutionResult", "ExecutionComplete"]
