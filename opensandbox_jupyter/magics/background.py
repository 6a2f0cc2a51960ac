"""Background commands: started, then watched by the portal long after their cell has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import SandboxApiException, SandboxException
from opensandbox_jupyter.magics.footer import footer
from opensandbox_jupyter.models.execd import RunCommandOpts

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.runs import Run
    from opensandbox_jupyter.magics.view import View
    from opensandbox_jupyter.portal import Portal
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["start", "watch"]

_SOON, _LATE = 0.2, 2.0
_PATIENCE = 5


async def start(run: Run, sandbox: Sandbox, opts: RunCommandOpts) -> None:
    """Start ``run`` in the background, so that it survives this kernel.

    Raises:
        SandboxException: when it does not start.
    """
    run.background = True
    execution = await sandbox.commands.run(
        run.command, opts=opts.model_copy(update={"background": True})
    )
    if execution.id is None or execution.error:
        reason = execution.error.value if execution.error else "the server gave it no id"
        raise SandboxException(f"The command did not start: {reason}")
    run.execution_id = execution.id


def watch(run: Run, sandbox: Sandbox, view: View, portal: Portal) -> None:
    """Keep ``run`` and ``view`` up to date until it ends."""
    assert run.execution_id is not None
    execution_id = run.execution_id

    def stop() -> None:
        run.interrupted = True
        try:
            portal.call(sandbox.commands.interrupt(execution_id))
        except SandboxException:
            run.interrupted = False
            raise

    run.stopper(stop)
    portal.submit(_watch(run, sandbox, view, execution_id))


async def _watch(run: Run, sandbox: Sandbox, view: View, execution_id: str) -> None:
    """Poll, slower while there is nothing new; a few failures in a row end it."""
    cursor: int | None = None
    pause, failures = _SOON, 0
    while True:
        try:
            status = await sandbox.commands.get_command_status(execution_id)
            logs = await sandbox.commands.get_background_command_logs(execution_id, cursor)
        except SandboxException as error:
            failures += 1
            is_final = isinstance(error, SandboxApiException) and error.status_code == 404
            if is_final or failures >= _PATIENCE:
                run.error = error.message
                break
            await asyncio.sleep(_LATE)
            continue
        failures, cursor = 0, logs.cursor
        run.add(logs.content, False)
        view.feed(logs.content, False)
        if status.running is False:
            run.exit_code = status.exit_code
            break
        view.draw()
        pause = _SOON if logs.content else min(pause * 1.3, _LATE)
        await asyncio.sleep(pause)
    run.end()
    view.finish(footer(run))
