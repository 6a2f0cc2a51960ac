"""``%sandbox_exec`` and ``%%sandbox_exec``: from the line and the cell to a run."""

from __future__ import annotations

import argparse
import functools
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.magics import background
from opensandbox_jupyter.magics.job import Job
from opensandbox_jupyter.magics.options import Parser, duration, environment
from opensandbox_jupyter.magics.runs import Run
from opensandbox_jupyter.magics.view import CellView, NoView, PinnedView, StreamView, View
from opensandbox_jupyter.magics.waiting import block_on, follow
from opensandbox_jupyter.models.execd import RunCommandOpts

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.session import Session

__all__ = ["Order", "exec_parser", "read_order", "run_awaiting", "run_blocking"]

_EXAMPLES = """
examples:
  %sandbox_exec ls -l /workspace
  %sandbox_exec --timeout 30s -o r make test      then: r.exit_code, r.text, r.path

  %%sandbox_exec --cwd /workspace --env TOKEN
  pip install -r requirements.txt
  python main.py

Interrupt stops the command in the sandbox, too. --bg lets it go on after the cell and the kernel.
"""


@dataclass(frozen=True)
class Order:
    """What a magic was asked to do."""

    command: str
    on: str | None
    opts: RunCommandOpts
    in_background: bool
    check: bool
    bind_to: str | None
    quiet: bool


@functools.cache
def exec_parser(prog: str = "%sandbox_exec") -> Parser:
    """Return the parser of the options; the rest of the line is the command."""
    parser = Parser(prog, "Run a shell command in a sandbox.", _EXAMPLES)
    parser.usage = f"{prog} [options] command".replace("%", "%%")
    parser.option("--cwd", metavar="DIR", help="directory to run in")
    parser.option(
        "--env",
        type=environment,
        action="append",
        default=[],
        metavar="K[=V]",
        help="set a variable; K alone takes the kernel's own value",
    )
    parser.option("--timeout", type=duration, metavar="TIME", help="kill it after 30s, 10m, 2h")
    parser.option("--on", metavar="NAME|ID", help="a sandbox other than the current one")
    parser.option("--bg", action="store_true", help="run in the background")
    parser.option("--no-raise", action="store_true", help="go on when the command fails")
    parser.option("-o", "--output", metavar="VAR", help="bind the run to a variable")
    parser.option(
        "--quiet", action="store_true", help="show nothing; the output is kept all the same"
    )
    return parser


def read_order(line: str, cell: str | None, prog: str = "%sandbox_exec") -> Order:
    """Read the line and the cell of a magic.

    Raises:
        InvalidArgumentException: when it is not clear what to run.
        HelpWanted: when help is asked for.
    """
    options, rest = exec_parser(prog).parse_front(line)
    script = cell if cell and cell.strip() else None
    if script is not None and rest:
        raise InvalidArgumentException(
            f"Both the line and the cell hold a command ({rest.split()[0]} …).",
            hint="Above a script the line takes options only; put the command into the script.",
        )
    command = script if script is not None else _unquoted(rest)
    if not command.strip():
        raise InvalidArgumentException(
            "There is nothing to run.", hint="For example `%sandbox_exec ls -l`; -h explains."
        )
    if options.output and not options.output.isidentifier():
        raise InvalidArgumentException(f"{options.output!r} is not a variable's name.")
    return _order(command, options)


def _order(command: str, options: argparse.Namespace) -> Order:
    opts = RunCommandOpts(
        working_directory=options.cwd,
        timeout=options.timeout,
        envs=dict(options.env) or None,
    )
    return Order(
        command=command,
        on=options.on,
        opts=opts,
        in_background=options.bg,
        check=not options.no_raise,
        bind_to=options.output,
        quiet=options.quiet,
    )


def _unquoted(rest: str) -> str:
    """Return the command; a line that is one quoted word is meant without its quotes."""
    if rest[:1] in ("'", '"') and rest[-1:] == rest[:1]:
        try:
            words = shlex.split(rest)
        except ValueError:
            return rest
        if len(words) == 1:
            return words[0]
    return rest


def run_blocking(session: Session, order: Order) -> Run:
    """Carry out an order and wait for it. Errors are those of :meth:`Job.conclude`."""
    run, job = _start(session, order)
    if job is not None:
        block_on(job)
        job.conclude(check=order.check, quiet=order.quiet)
    return run


async def run_awaiting(session: Session, order: Order) -> Run:
    """Carry out an order while the kernel stays free to react."""
    run, job = _start(session, order)
    if job is not None:
        await follow(job)
        job.conclude(check=order.check, quiet=order.quiet)
    return run


def _start(session: Session, order: Order) -> tuple[Run, Job | None]:
    """Start a run and bind it; there is no job to wait for in the background."""
    held = session.find(order.on)
    run = session.new_run(order.command, held.id)
    if order.bind_to:
        session.bind(order.bind_to, run)
    if not order.in_background:
        return run, Job(run, held.sandbox, order.opts, _view(session, order, run), session.portal)
    try:
        session.call(background.start(run, held.sandbox, order.opts))
    except BaseException as error:
        run.error = str(error)
        run.end()
        raise
    background.watch(run, held.sandbox, _pinned(session, order, run), session.portal)
    return run, None


def _view(session: Session, order: Order, run: Run) -> View:
    if order.quiet:
        return NoView()
    return CellView(f"`%sandbox show {run.id}`") if session.in_kernel else StreamView()


def _pinned(session: Session, order: Order, run: Run) -> View:
    if order.quiet or not session.in_kernel:
        return NoView()
    waiting = f"running in the background · run {run.id}"
    return PinnedView(f"`%sandbox show {run.id}`", waiting, lambda: session.context)
