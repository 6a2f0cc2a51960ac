"""Verbs that look back or look around: ``runs``, ``show``, ``doctor``."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.magics.cards import show_table
from opensandbox_jupyter.magics.footer import footer, size_of, time_of
from opensandbox_jupyter.magics.runs import shortened
from opensandbox_jupyter.magics.view import CellView, StreamView

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.session import Session

__all__ = ["doctor", "runs", "show"]

_BLOCK = 1 << 16
_DOCTOR_SECONDS = 60


def runs(session: Session, options: argparse.Namespace) -> None:
    """``runs``: list the runs of this session."""
    rows = [
        (
            str(run.id),
            run.state,
            time_of(run.seconds),
            f"{run.lines:,}",
            size_of(run.size),
            shortened(run.command),
        )
        for run in session.runs.values()
    ]
    columns = ("run", "state", "time", "lines", "size", "command")
    show_table(columns, rows, "Nothing has been run yet.")


def show(session: Session, options: argparse.Namespace) -> None:
    """``show``: what a run printed, or some lines of it, folded and bounded as in its own cell."""
    run = session.run_of(options.run)
    more = f"`%sandbox show {run.id} --lines 5000:6000` shows a part, {run.path} has it all"
    view = CellView(more) if session.in_kernel else StreamView()
    first, last = options.lines or (1, None)
    for text, is_error in _between(run.pieces(), first, last):
        view.feed(text, is_error)
        if view.is_full:
            view.draw()
    view.finish(footer(run))


def _between(
    pieces: Iterable[tuple[str, bool]], first: int, last: int | None
) -> Iterator[tuple[str, bool]]:
    """Give what lies on the lines ``first`` to ``last``, counted from 1."""
    if first == 1 and last is None:
        yield from pieces
        return
    line = 1
    for text, is_error in pieces:
        ends = text.count("\n")
        if line + ends >= first:
            parts = text.split("\n")
            kept = parts[max(first - line, 0) : None if last is None else max(last - line + 1, 0)]
            closed = last is not None and line + ends > last
            yield "\n".join(kept) + ("\n" if closed and kept else ""), is_error
        line += ends
        if last is not None and line > last:
            return


def doctor(session: Session, options: argparse.Namespace) -> None:
    """``doctor``: check the server, this kernel, and, for the embedded server, this host."""
    rows = [
        ("python", platform.python_version()),
        ("notebook", _front(session)),
        ("outputs", f"kept in {session.spools.folder}"),
        ("server", _server(session)),
    ]
    from opensandbox_jupyter.settings import Settings

    if Settings.resolve().target is None:
        rows.extend(_host())
    show_table(("check", "finding"), rows, "")


def _front(session: Session) -> str:
    from importlib.metadata import PackageNotFoundError, version

    if not session.in_kernel:
        return f"no kernel (IPython {version('ipython')}): output goes to the terminal"
    try:
        kernel = f"ipykernel {version('ipykernel')}"
    except PackageNotFoundError:
        kernel = "a kernel other than ipykernel"
    return f"{kernel}; cells {'await' if session.awaits else 'block'} while a command runs"


def _server(session: Session) -> str:
    from opensandbox_jupyter.magics.lifecycle import count
    from opensandbox_jupyter.settings import Settings

    try:
        where = Settings.resolve().base_url or "the embedded server of this user"
        return f"{where} answers; it has {session.call(count())} sandboxes"
    except SandboxException as error:
        return f"PROBLEM: {error}"


def _host() -> list[tuple[str, str]]:
    """Ask the command line's doctor, which knows the embedded server."""
    command = [sys.executable, "-m", "opensandbox_jupyter.cli", "doctor"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOCTOR_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [("host", f"PROBLEM: {error}")]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return [("host", line) for line in lines] or [("host", f"PROBLEM: {done.stderr[-500:]}")]
