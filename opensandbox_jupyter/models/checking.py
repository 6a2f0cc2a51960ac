"""Whether a run went well, for who asked to be told by an exception."""

from __future__ import annotations

from opensandbox_jupyter.exceptions import CommandFailed
from opensandbox_jupyter.models.execution import Execution

__all__ = ["raise_for_error", "raise_for_exit"]

_TAIL_LINES = 5


def raise_for_exit(execution: Execution) -> None:
    """Raise ``CommandFailed`` unless the command ended with exit code 0."""
    if execution.exit_code == 0:
        return
    if execution.exit_code is not None:
        message = f"The command ended with exit code {execution.exit_code}."
    else:
        reason = execution.error.value if execution.error else "no exit code came"
        message = f"The command did not run: {reason}"
    _fail(execution, message)


def raise_for_error(execution: Execution) -> None:
    """Raise ``CommandFailed`` when code raised something."""
    error = execution.error
    if error is not None:
        _fail(execution, f"The code raised {error.name}: {error.value}")


def _fail(execution: Execution, message: str) -> None:
    tail = "\n".join((execution.stderr or execution.stdout).splitlines()[-_TAIL_LINES:])
    raise CommandFailed(
        message + (f"\n{tail}" if tail else ""),
        exit_code=execution.exit_code,
        tail=tail,
        execution=execution,
    )
