"""The verbs of ``%sandbox``: their names, their options, and what carries each of them out."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.magics import lifecycle, review
from opensandbox_jupyter.magics.escape import visible
from opensandbox_jupyter.magics.options import (
    Parser,
    duration,
    environment,
    key_value,
    line_range,
    nearest,
)

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.session import Session

__all__ = ["CHEAT_SHEET", "VERBS", "Verb", "find_verb"]

CHEAT_SHEET = """\
%sandbox create [IMAGE]        make a sandbox and use it      (--name, --timeout 10m, --env K=V)
%sandbox_exec ls -l            run one command in it
%%sandbox_exec                 run the cell as a shell script; Interrupt stops it
%sandbox list | info           sandboxes | the current one
%sandbox use NAME              switch; connect ID takes in one made elsewhere
%sandbox renew 30m             let it live longer; pause, resume
%sandbox runs | show 3         what has been run | all that run 3 printed
%sandbox kill [NAME…|--all]    end it
%sandbox doctor                check the connection and this host

%sandbox VERB -h explains a verb. In Python the current sandbox is `sandbox`."""


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        summary: one sentence.
        options: adds its options to a parser.
        do: carries it out.
        words: what its arguments are, for completion: ``sandbox``, ``run``, ``image`` or nothing.
    """

    name: str
    summary: str
    do: Callable[[Session, argparse.Namespace], None]
    options: Callable[[Parser], None] = lambda parser: None
    words: str = ""

    @property
    def parser(self) -> Parser:
        """The parser of its line."""
        return _parser(self)


@functools.cache
def _parser(verb: Verb) -> Parser:
    parser = Parser(f"%sandbox {verb.name}", verb.summary)
    verb.options(parser)
    return parser


def find_verb(name: str) -> Verb:
    """Return a verb by name.

    Raises:
        InvalidArgumentException: when there is none.
    """
    verb = VERBS.get(name)
    if verb is None:
        near = nearest(name, VERBS)
        raise InvalidArgumentException(
            f"%sandbox has no verb {visible(name)!r}"
            + (f"; did you mean {near}?" if near else "."),
            hint=f"Verbs: {', '.join(VERBS)}, run.",
        )
    return verb


def _create(parser: Parser) -> None:
    parser.add_argument("image", nargs="?", default="base", metavar="IMAGE", help="default: base")
    parser.option("--name", metavar="N", help="how to call it here")
    parser.option(
        "--timeout", type=duration, metavar="TIME", help="its lifetime: 30s, 10m (default), 2h"
    )
    parser.option(
        "--env",
        type=environment,
        action="append",
        default=[],
        metavar="K[=V]",
        help="a variable for all commands; K alone takes the kernel's own value",
    )
    parser.option("--env-file", metavar="FILE", help="variables from a file of K=V lines")
    parser.option(
        "--meta", type=key_value, action="append", default=[], metavar="K=V", help="a label"
    )
    parser.option("--cpu", metavar="N", help="processors, for example 1 or 500m")
    parser.option("--memory", metavar="SIZE", help="for example 2Gi")
    parser.option("--entrypoint", metavar="COMMAND", help="its first process, quoted")
    parser.option("--var", default="sandbox", metavar="NAME", help="variable; default: sandbox")
    parser.option("--keep", action="store_true", help="do not kill it when the kernel ends")
    parser.option(
        "--async", dest="is_async", action="store_true", help="bind the async handle instead"
    )


def _connect(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.option("--name", metavar="N", help="how to call it here")
    parser.option("--var", default="sandbox", metavar="NAME", help="variable; default: sandbox")


def _list(parser: Parser) -> None:
    parser.option("--state", action="append", metavar="STATE", help="for example Running; repeat")
    parser.option(
        "--meta", type=key_value, action="append", default=[], metavar="K=V", help="a label it has"
    )


def _kill(parser: Parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME|ID", help="default: the current one")
    parser.option("--all", action="store_true", help="all that this kernel made")


def _one(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME|ID", help="default: the current one")


def _use(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME|ID")
    parser.option("--var", default="sandbox", metavar="NAME", help="variable; default: sandbox")


def _renew(parser: Parser) -> None:
    parser.add_argument("time", type=duration, metavar="TIME", help="from now: 30m, 2h")
    parser.option("--on", metavar="NAME|ID", help="default: the current one")


def _show(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="its number")
    parser.option("--lines", type=line_range, metavar="A:B", help="only the lines A to B")


VERBS = {
    verb.name: verb
    for verb in (
        Verb("create", "Make a sandbox and use it.", lifecycle.create, _create, "image"),
        Verb("connect", "Take in a sandbox that was made elsewhere.", lifecycle.connect, _connect),
        Verb("use", "Make another sandbox the current one.", lifecycle.use, _use, "sandbox"),
        Verb("list", "List the sandboxes of the server.", lifecycle.list_all, _list),
        Verb("info", "Show a sandbox.", lifecycle.info, _one, "sandbox"),
        Verb("kill", "End sandboxes, for good.", lifecycle.kill, _kill, "sandbox"),
        Verb("pause", "Freeze a sandbox.", lifecycle.pause, _one, "sandbox"),
        Verb("resume", "Let a paused sandbox go on.", lifecycle.resume, _one, "sandbox"),
        Verb("renew", "Set when a sandbox ends.", lifecycle.renew, _renew),
        Verb("runs", "List what has been run.", review.runs),
        Verb("show", "Show all that a run printed.", review.show, _show, "run"),
        Verb("doctor", "Check the connection and this host.", review.doctor),
    )
}
