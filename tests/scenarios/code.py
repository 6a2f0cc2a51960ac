"""Code that remembers."""

from __future__ import annotations

from typing import Any

from scenarios import sdk

PYTHON = sdk.Language.PYTHON


async def _codes(sandbox: Any) -> Any:
    try:
        return (await sdk.interpreter(sandbox)).codes
    except sdk.exceptions.SandboxReadyTimeoutException as error:
        raise sdk.NotThere("this image runs no code: it has no Jupyter") from error


async def runs_code(sandbox: Any) -> None:
    codes = await _codes(sandbox)
    assert await codes.ping()
    seen: list[str] = []

    async def note(message: Any) -> None:
        seen.append(message.text)

    execution = await codes.run(
        "import math\nprint('hello')\nmath.sqrt(16)",
        language=PYTHON,
        handlers=sdk.handlers(on_stdout=note, on_result=note),
    )
    assert [one.text for one in execution.result] == ["4.0"], execution
    assert "".join(one.text for one in execution.logs.stdout) == "hello\n"
    assert "".join(seen) == "hello\n4.0"
    assert (await codes.run("math.pi > 3", language=PYTHON)).result[0].text == "True"


async def keeps_contexts_apart(sandbox: Any) -> None:
    codes = await _codes(sandbox)
    context = await codes.create_context(PYTHON)
    await codes.run("x = 41", context=context)
    assert (await codes.run("x + 1", context=context)).result[0].text == "42"
    failed = await codes.run("1 / 0", context=context)
    assert (failed.error.name, failed.error.value) == ("ZeroDivisionError", "division by zero")
    assert failed.error.traceback
    other = await codes.create_context(PYTHON)
    assert (await codes.run("x", context=other)).error.name == "NameError"
    assert {context.id, other.id} <= {one.id for one in await codes.list_contexts(PYTHON)}
    assert (await codes.get_context(context.id)).language == "python"
    await codes.delete_context(context.id)
    await sdk.refused(codes.get_context(context.id), 404)
    await codes.delete_contexts(PYTHON)
    assert await codes.list_contexts(PYTHON) == []


async def interrupts_code(sandbox: Any) -> None:
    codes = await _codes(sandbox)
    context = await codes.create_context(PYTHON)

    async def stop(message: Any) -> None:
        if "begun" in message.text:
            await codes.interrupt(context.id)

    stopped = await codes.run(
        "import time\nprint('begun', flush=True)\ntime.sleep(600)",
        context=context,
        handlers=sdk.handlers(on_stdout=stop),
    )
    assert stopped.error.name == "KeyboardInterrupt", stopped
    assert (await codes.run("6 * 7", context=context)).result[0].text == "42"


async def runs_other_languages(sandbox: Any) -> None:
    codes = await _codes(sandbox)
    shell = await codes.run("v=7; echo $v", language=sdk.Language.BASH)
    assert shell.logs.stdout[0].text.strip() == "7"
