"""What the magics of one kernel have in hand: sandboxes by name, runs by number."""

from __future__ import annotations

import atexit
import os
import re
import time
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.magics.escape import visible
from opensandbox_jupyter.magics.runs import Run
from opensandbox_jupyter.magics.spool import Spools, home
from opensandbox_jupyter.portal import get_portal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from IPython.core.interactiveshell import InteractiveShell

    from opensandbox_jupyter.models.sandboxes import SandboxInfo
    from opensandbox_jupyter.portal import Portal
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["KERNEL_TAG", "NAME_TAG", "Held", "Session"]

KERNEL_TAG, NAME_TAG, _NOTEBOOK_TAG = "jupyter-kernel", "jupyter-name", "jupyter-notebook"
_FAREWELL = 4.0
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

T = TypeVar("T")


@dataclass(eq=False)
class Held:
    """A sandbox that the session knows. ``sandbox`` belongs to the portal."""

    name: str
    sandbox: Sandbox
    image: str
    created_here: bool
    keep: bool = False

    @property
    def id(self) -> str:
        """The sandbox's id."""
        return self.sandbox.id


class Session:
    """The state of the magics in one shell. Nothing is started before it is needed."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.tag = uuid4().hex[:16]
        self.held: dict[str, Held] = {}
        self.current: Held | None = None
        self.runs: dict[int, Run] = {}
        self.context = copy_context()
        """The context of the latest cell: in its name, what is shown later goes out."""
        self._spools: Spools | None = None
        self._pid = os.getpid()
        atexit.register(self.close)

    @property
    def portal(self) -> Portal:
        """Where all waiting is done."""
        return get_portal()

    @property
    def in_kernel(self) -> bool:
        """Whether this shell has a front end that shows displays."""
        return getattr(self.shell, "kernel", None) is not None

    @property
    def awaits(self) -> bool:
        """Whether a cell of this shell can await without stopping what else the kernel does."""
        shell = self.shell
        runner = shell.loop_runner_map.get("asyncio", (None,))[0]
        return self.in_kernel and bool(shell.autoawait) and shell.loop_runner is runner

    @property
    def spools(self) -> Spools:
        """This session's folder of outputs."""
        if self._spools is None:
            self._spools = Spools(home() / "runs")
        return self._spools

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the portal and wait; Interrupt cancels it."""
        return self.portal.call(coroutine)

    def bind(self, name: str, value: object) -> None:
        """Set a variable of the user."""
        self.shell.push({name: value}, interactive=False)  # type: ignore[no-untyped-call,unused-ignore]

    def new_run(self, command: str, sandbox_id: str) -> Run:
        """Number a new run."""
        number = len(self.runs) + 1
        run = self.runs[number] = Run(number, command, sandbox_id, self.spools.spool(number))
        return run

    def run_of(self, number: str) -> Run:
        """Return the run with a number.

        Raises:
            InvalidArgumentException: when there is none.
        """
        run = self.runs.get(int(number)) if number.isdecimal() else None
        if run is None:
            known = f"runs 1 to {len(self.runs)}" if self.runs else "no runs yet"
            raise InvalidArgumentException(
                f"There is no run {visible(number)!r}; this session has {known}.",
                hint="`%sandbox runs` lists them.",
            )
        return run

    def add(self, held: Held) -> None:
        """Take a sandbox in hand and make it the current one."""
        self.held[held.name] = held
        self.current = held

    def drop(self, held: Held) -> None:
        """Forget a sandbox that is gone."""
        self.held.pop(held.name, None)
        if self.current is held:
            self.current = next(reversed(list(self.held.values())), None)
        with suppress(SandboxException):
            self.call(held.sandbox.close())

    def free_name(self, wanted: str | None) -> str:
        """Return a name for a new sandbox.

        Raises:
            InvalidArgumentException: when ``wanted`` is taken or cannot be a name.
        """
        if wanted is None:
            numbers = (f"sandbox-{n}" for n in range(1, len(self.held) + 2))
            return next(name for name in numbers if name not in self.held)
        if not _NAME.fullmatch(wanted):
            raise InvalidArgumentException(
                f"{visible(wanted)!r} cannot be a name.",
                hint="Use up to 63 letters, digits, dots, dashes and underscores.",
            )
        if wanted in self.held:
            raise InvalidArgumentException(
                f"There is a sandbox named {wanted} already.",
                hint=f"`%sandbox use {wanted}` or `%sandbox kill {wanted}`.",
            )
        return wanted

    def find(self, reference: str | None = None) -> Held:
        """Return a sandbox by name or id (its beginning is enough), or the current one.

        Raises:
            InvalidArgumentException: when there is none.
        """
        if reference is None:
            if self.current is None:
                raise InvalidArgumentException(
                    "There is no sandbox yet.", hint="`%sandbox create` makes one."
                )
            return self.current
        found = self.held.get(reference)
        matches = [
            h for h in self.held.values() if len(reference) >= 4 and h.id.startswith(reference)
        ]
        if found or len(matches) == 1:
            return found or matches[0]
        known = ", ".join(sorted(self.held)) or "none"
        raise InvalidArgumentException(
            f"There is no sandbox {visible(reference)!r} here; known: {known}.",
            hint="`%sandbox connect ID` takes in one that was made elsewhere.",
        )

    def tags(self, name: str) -> dict[str, str]:
        """Return metadata that tell whose a sandbox is, as values that any server accepts."""
        notebook = os.environ.get("JPY_SESSION_NAME") or str(Path.cwd())
        label = re.sub(r"[^A-Za-z0-9_.-]+", "-", notebook)[-63:].strip("-_.")
        tags = {KERNEL_TAG: self.tag, NAME_TAG: name, _NOTEBOOK_TAG: label}
        return {key: value for key, value in tags.items() if value}

    def is_ours(self, info: SandboxInfo) -> bool:
        """Whether this kernel made a sandbox."""
        return info.metadata.get(KERNEL_TAG) == self.tag

    def close(self) -> None:
        """End what must not outlive the kernel. Called at exit: quick, blocking, and silent."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return  # a forked child owns nothing
        doomed = [h for h in self.held.values() if h.created_here and not h.keep]
        ids = {held.id for held in doomed}
        loose = [
            run
            for run in self.runs.values()
            if run.running and not run.background and run.sandbox_id not in ids
        ]
        if doomed or loose:
            with suppress(Exception):
                _end(doomed, loose)
        if self._spools is not None:
            self._spools.close()


def _end(doomed: list[Held], loose: list[Run]) -> None:
    """Kill sandboxes and interrupt runs, without threads: at exit none can be started."""
    from opensandbox_jupyter.config import ConnectionConfigSync
    from opensandbox_jupyter.local import find_server
    from opensandbox_jupyter.retry import RetryPolicy
    from opensandbox_jupyter.sync.manager import SandboxManagerSync
    from opensandbox_jupyter.sync.sandbox import SandboxSync

    deadline = time.monotonic() + _FAREWELL
    config = ConnectionConfigSync(
        request_timeout=timedelta(seconds=_FAREWELL / 2), retry_policy=RetryPolicy.disabled()
    )
    if config.settings().target is None and find_server() is None:
        return  # the embedded server has gone, and its sandboxes with it: do not start another
    with SandboxManagerSync.create(config) as manager:
        for one in doomed:
            if time.monotonic() < deadline:
                with suppress(SandboxException):
                    manager.kill_sandbox(one.id)
    for run in loose:
        if run.execution_id and time.monotonic() < deadline:
            with suppress(SandboxException):
                sandbox = SandboxSync.connect(run.sandbox_id, config, skip_health_check=True)
                sandbox.commands.interrupt(run.execution_id)
