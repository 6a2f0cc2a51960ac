"""A program of the vendor's code interpreter, from create to kill. Prints ``done``."""

import asyncio
from datetime import timedelta

from code_interpreter import CodeInterpreter, CodeInterpreterSync, SupportedLanguage
from opensandbox import Sandbox, SandboxSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.execd import ExecutionHandlers

IMAGE = "opensandbox/code-interpreter:latest"
LIFETIME = timedelta(minutes=5)
SLOW = "import time; time.sleep(60)"


async def use() -> None:
    sandbox = await Sandbox.create(IMAGE, timeout=LIFETIME)
    interpreter = await CodeInterpreter.create(sandbox)
    assert await interpreter.codes.ping()

    seen: list[str] = []

    async def note(message: object) -> None:
        seen.append(getattr(message, "text", ""))

    handlers = ExecutionHandlers(on_stdout=note, on_result=note)
    execution = await interpreter.codes.run(
        "import math\nprint('hello')\nmath.sqrt(16)",
        language=SupportedLanguage.PYTHON,
        handlers=handlers,
    )
    assert [part.text for part in execution.result] == ["4.0"], execution
    assert "".join(part.text for part in execution.logs.stdout) == "hello\n"
    assert seen == ["hello\n", "4.0"]
    assert execution.execution_count == 1
    again = await interpreter.codes.run("math.pi > 3", language=SupportedLanguage.PYTHON)
    assert again.result[0].text == "True"

    context = await interpreter.codes.create_context(SupportedLanguage.PYTHON)
    assert context.id
    await interpreter.codes.run("x = 41", context=context)
    assert (await interpreter.codes.run("x + 1", context=context)).result[0].text == "42"
    failed = await interpreter.codes.run("1 / 0", context=context)
    assert failed.error is not None
    assert (failed.error.name, failed.error.value) == ("ZeroDivisionError", "division by zero")
    assert failed.error.traceback

    busy = asyncio.create_task(interpreter.codes.run(SLOW, context=context))
    await asyncio.sleep(1)
    await interpreter.codes.interrupt(context.id)
    stopped = await busy
    assert stopped.error is not None
    assert stopped.error.name == "KeyboardInterrupt"

    listed = await interpreter.codes.list_contexts(SupportedLanguage.PYTHON)
    assert context.id in {one.id for one in listed}
    assert (await interpreter.codes.get_context(context.id)).language == "python"
    await interpreter.codes.delete_context(context.id)
    try:
        await interpreter.codes.get_context(context.id)
    except SandboxApiException as error:
        assert error.status_code == 404
    else:
        raise AssertionError("the context is still there")
    shell = await interpreter.codes.run("v=7; echo $v", language=SupportedLanguage.BASH)
    assert shell.logs.stdout[0].text.strip() == "7"
    await interpreter.codes.delete_contexts(SupportedLanguage.PYTHON)
    assert (await interpreter.commands.run("echo too")).logs.stdout
    await sandbox.kill()
    await sandbox.close()


def use_blocking() -> None:
    sandbox = SandboxSync.create(IMAGE, timeout=LIFETIME)
    interpreter = CodeInterpreterSync.create(sandbox)
    execution = interpreter.codes.run("sum(range(10))", language=SupportedLanguage.PYTHON)
    assert execution.result[0].text == "45"
    context = interpreter.codes.create_context(SupportedLanguage.PYTHON)
    interpreter.codes.run("y = [1]", context=context)
    assert interpreter.codes.run("y", context=context).result[0].text == "[1]"
    interpreter.codes.delete_context(context.id)
    sandbox.kill()
    sandbox.close()


asyncio.run(use())
use_blocking()
print("done")
