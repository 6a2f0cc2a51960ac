"""Rewrites ``%%sandbox_exec`` cells to an ``await``, so that the kernel stays free meanwhile.

A cell magic is a plain call and would hold the kernel: no widget callback could run, and some
kernels would see an interrupt late. IPython's own cell-magic transformer comes after this one.
"""

from __future__ import annotations

import re
from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.session import Session

__all__ = ["AwaitCells"]

_FIRST_LINE = re.compile(r"%%sandbox_exec(?:[ \t]+(.*?))?[ \t]*\r?\n?")
_CALL = "await get_ipython().magics_manager.registry['SandboxMagics'].exec_cell({!r}, {!r})\n"


class AwaitCells:
    """An input transformer that knows whether a cell could be awaited at all."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shell = session.shell
        self._depth = 0

    def __call__(self, lines: list[str]) -> list[str]:
        """Rewrite the lines of a cell if it is one of ours and is about to be awaited."""
        first = _FIRST_LINE.fullmatch(lines[0]) if lines else None
        if first is None or self._depth or not self._session.awaits:
            return lines
        return [_CALL.format(first[1] or "", "".join(lines[1:]))]

    def install(self) -> None:
        """Start transforming."""
        self._shell.input_transformers_cleanup.append(self)
        self._shell.events.register("pre_execute", self._enter)
        self._shell.events.register("post_execute", self._leave)

    def remove(self) -> None:
        """Stop transforming."""
        if self in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(self)
        self._shell.events.unregister("pre_execute", self._enter)
        self._shell.events.unregister("post_execute", self._leave)

    def _enter(self) -> None:
        self._session.context = copy_context()
        self._depth += 1  # a cell inside a cell (%run of a notebook) runs without an event loop

    def _leave(self) -> None:
        self._depth = max(self._depth - 1, 0)
