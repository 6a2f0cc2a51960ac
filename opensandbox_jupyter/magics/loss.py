"""Why a sandbox does not answer any more, in words that help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import (
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    SandboxUnhealthyException,
)
from opensandbox_jupyter.models.sandboxes import SandboxState

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import SandboxStatus
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["why_lost"]

_ANOTHER = "`%sandbox create` makes another one."


async def why_lost(sandbox: Sandbox, error: SandboxConnectionException) -> SandboxException:
    """Ask the lifecycle server what became of a sandbox; return the error that says so."""
    try:
        status = (await sandbox.get_info()).status
    except SandboxApiException as answer:
        if answer.status_code != 404:
            return error
        return SandboxUnhealthyException(
            "The sandbox is gone: it was killed, or its time was up.",
            hint=f"{_ANOTHER} `--timeout` and `%sandbox renew` let it live longer.",
            cause=error,
        )
    except SandboxConnectionException:
        return SandboxConnectionException(
            "Neither the sandbox nor its server answers.",
            hint="`%sandbox doctor` looks at the connection; `%sandbox create` starts anew.",
            cause=error,
        )
    except SandboxException:
        return error
    return _of_state(status, error)


def _of_state(status: SandboxStatus, error: SandboxConnectionException) -> SandboxException:
    if status.state == SandboxState.PAUSED:
        return SandboxUnhealthyException(
            "The sandbox is paused.", hint="`%sandbox resume` lets it go on.", cause=error
        )
    if status.state == SandboxState.RUNNING:
        return error
    told = f" ({status.message})" if status.message else ""
    return SandboxUnhealthyException(
        f"The sandbox is no longer running: {status.state}{told}.", hint=_ANOTHER, cause=error
    )
