"""Puts the magics into an IPython shell, and takes them out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from opensandbox_jupyter.magics.cards import show_lines
from opensandbox_jupyter.magics.completion import make_matcher
from opensandbox_jupyter.magics.execute import read_order, run_awaiting, run_blocking
from opensandbox_jupyter.magics.options import HelpWanted
from opensandbox_jupyter.magics.session import Session
from opensandbox_jupyter.magics.transform import AwaitCells
from opensandbox_jupyter.magics.verbs import CHEAT_SHEET, find_verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from opensandbox_jupyter.magics.runs import Run

__all__ = ["SandboxMagics", "load", "unload"]

_NAMES = {"line": ("sandbox", "sandbox_exec"), "cell": ("sandbox_exec",)}

_sessions: WeakKeyDictionary[InteractiveShell, Session] = WeakKeyDictionary()
_loaded: WeakKeyDictionary[InteractiveShell, tuple[AwaitCells, Callable[..., Any]]] = (
    WeakKeyDictionary()
)


@magics_class
class SandboxMagics(Magics):
    """``%sandbox``, ``%sandbox_exec`` and ``%%sandbox_exec``. Options are never expanded."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)  # type: ignore[no-untyped-call,unused-ignore]
        self._session = session

    @no_var_expand
    @line_magic  # type: ignore[untyped-decorator,unused-ignore]
    def sandbox(self, line: str) -> Run | None:
        """Make, use and end sandboxes: ``%sandbox create``, ``%sandbox list``, ``%sandbox kill``.

        ``%sandbox`` alone lists the verbs; ``%sandbox VERB -h`` explains one.
        """
        name, _, rest = line.strip().partition(" ")
        try:
            if name == "run":
                return self._run(rest, None, "%sandbox run")
            if name in ("", "-h", "--help"):
                show_lines(CHEAT_SHEET)
            else:
                verb = find_verb(name)
                verb.do(self._session, verb.parser.parse_line(rest))
        except HelpWanted as help_wanted:
            show_lines(str(help_wanted))
        return None

    @no_var_expand
    @line_cell_magic  # type: ignore[untyped-decorator,unused-ignore]
    def sandbox_exec(self, line: str, cell: str | None = None) -> Run | None:
        """Run a shell command, or the cell as a shell script, in the current sandbox.

        Examples::

            %sandbox_exec ls -l
            run = %sandbox_exec --no-raise make test

            %%sandbox_exec --cwd /workspace --timeout 10m
            pip install -r requirements.txt
            python main.py

        ``%sandbox_exec -h`` explains the options. Interrupt stops the command in the sandbox, too.
        """
        run = self._run(line, cell, "%sandbox_exec")
        return run if cell is None else None

    async def exec_cell(self, line: str, cell: str) -> None:
        """Run a ``%%sandbox_exec`` cell while the kernel stays free to react."""
        try:
            await run_awaiting(self._session, read_order(line, cell))
        except HelpWanted as help_wanted:
            show_lines(str(help_wanted))

    def _run(self, line: str, cell: str | None, prog: str) -> Run | None:
        try:
            run = run_blocking(self._session, read_order(line, cell, prog))
        except HelpWanted as help_wanted:
            show_lines(str(help_wanted))
            return None
        if self._session.in_kernel:
            run.shown_at = self._session.shell.execution_count
        return run


def load(shell: InteractiveShell) -> None:
    """Register magics, transformer and completion; a second time changes nothing."""
    if shell in _loaded:
        return
    session = _sessions.get(shell)
    if session is None:
        session = _sessions[shell] = Session(shell)
    transformer = AwaitCells(session)
    matcher = make_matcher(session)
    shell.register_magics(SandboxMagics(shell, session))
    transformer.install()
    shell.Completer.custom_matchers.append(matcher)
    _loaded[shell] = (transformer, matcher)


def unload(shell: InteractiveShell) -> None:
    """Take everything out again. Sandboxes, runs and variables stay as they are."""
    loaded = _loaded.pop(shell, None)
    if loaded is None:
        return
    transformer, matcher = loaded
    transformer.remove()
    if matcher in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(matcher)
    for kind, names in _NAMES.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop(SandboxMagics.__name__, None)
