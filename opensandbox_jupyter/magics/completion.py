"""Tab on a magic's line: verbs, options, names, runs, images; from memory, never the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.magics.execute import exec_parser
from opensandbox_jupyter.magics.verbs import VERBS

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.options import Parser
    from opensandbox_jupyter.magics.session import Session

__all__ = ["make_matcher", "suggestions"]

_LINE = re.compile(r"\s*(?:[\w.,\s]+=\s*)?(%%?)(sandbox|sandbox_exec)\s(.*)", re.DOTALL)
_IMAGES = ("base", "python", "python:3.11", "python:3.12", "python:3.13", "ubuntu", "debian")
_STATES = ("Running", "Paused", "Pending", "Failed", "Terminated")
_DURATIONS = ("30s", "10m", "1h")


def make_matcher(session: Session) -> Callable[..., Any]:
    """Return a matcher for ``Completer.custom_matchers`` that speaks for our lines alone."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier="opensandbox_jupyter")  # type: ignore[untyped-decorator,unused-ignore]
    def match(context: Any) -> dict[str, Any]:
        text = context.text_until_cursor
        found = suggestions(session, text, is_first_line=context.cursor_line == 0)
        if found is None:
            return {"completions": [], "suppress": False}
        fragment, words, kind = found
        return {
            "completions": [SimpleCompletion(word, type=kind) for word in words],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    return match  # type: ignore[no-any-return,unused-ignore]


def suggestions(
    session: Session, text: str, *, is_first_line: bool = True
) -> tuple[str, list[str], str] | None:
    """Return the fragment at the end of a line, what it may become, and what kind of thing that is.

    ``None`` when the line is none of ours; no words when it is, but nothing is known.
    """
    line = _LINE.match(text)
    if line is None or (line[1] == "%%" and not is_first_line):
        return None
    words = line[3].split(" ")
    before, fragment = [word for word in words[:-1] if word], words[-1]
    if line[2] == "sandbox" and not before:
        return _matching(fragment, [*VERBS, "run"], "verb")
    verb = before.pop(0) if line[2] == "sandbox" else "run"
    if verb == "run":
        if _command_began(before, exec_parser()):
            return fragment, [], ""
        return _word(session, fragment, before, exec_parser(), "")
    if verb not in VERBS:
        return fragment, [], ""
    return _word(session, fragment, before, VERBS[verb].parser, VERBS[verb].words)


def _word(
    session: Session, fragment: str, before: list[str], parser: Parser, arguments: str
) -> tuple[str, list[str], str]:
    name, equals, value = fragment.partition("=")
    if equals and name in parser.flags:
        return _matching(value, _values(session, parser.flags[name].metavar), "value")
    last = parser.flags.get(before[-1]) if before else None
    if last is not None and last.nargs != 0:
        return _matching(fragment, _values(session, last.metavar), "value")
    if fragment.startswith("-"):
        return _matching(fragment, [f for f in parser.flags if f.startswith("--")], "option")
    return _matching(fragment, _arguments(session, arguments), arguments or "argument")


def _command_began(before: list[str], parser: Parser) -> bool:
    """Whether a command, of which we know nothing, has begun on the line."""
    wants_value = False
    for word in before:
        if wants_value:
            wants_value = False
        elif not word.startswith("-"):
            return True
        else:
            action = parser.flags.get(word)
            wants_value = action is not None and action.nargs != 0
    return False


def _matching(fragment: str, words: Iterable[str], kind: str) -> tuple[str, list[str], str]:
    return fragment, [word for word in words if word.startswith(fragment)], kind


def _values(session: Session, metavar: object) -> Iterable[str]:
    if metavar == "NAME|ID":
        return _arguments(session, "sandbox")
    return {"TIME": _DURATIONS, "STATE": _STATES}.get(str(metavar), ())


def _arguments(session: Session, kind: str) -> Iterable[str]:
    if kind == "sandbox":
        return [*session.held, *(held.id for held in session.held.values())]
    if kind == "run":
        return [str(number) for number in reversed(session.runs)]
    if kind == "image":
        return dict.fromkeys([*_IMAGES, *(h.image for h in session.held.values() if h.image)])
    return ()
