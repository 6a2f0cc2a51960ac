"""Errors: one tree, one sentence and a hint, nothing hostile on screen."""

from __future__ import annotations

import inspect

import pytest

from opensandbox_jupyter import exceptions
from opensandbox_jupyter.exceptions import (
    CommandInterrupted,
    SandboxApiException,
    SandboxException,
    UnsupportedOperationException,
)
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.protocol import Protocol


def test_there_is_one_tree_and_it_is_drawn() -> None:
    classes = [c for _, c in inspect.getmembers(exceptions, inspect.isclass)]
    errors = [c for c in classes if issubclass(c, BaseException)]

    assert {c for c in errors if not issubclass(c, SandboxException)} == {CommandInterrupted}
    assert [c.__name__ for c in errors if c.__name__ not in (exceptions.__doc__ or "")] == []


def test_a_notebook_shows_sentence_hint_and_request_id_only() -> None:
    error = SandboxApiException(
        "It failed \x1b[2J<b>\u202e", hint="Try again.", request_id="r1", status_code=500
    )

    shown = "\n".join(error._render_traceback_())

    assert "Try again." in shown
    assert "r1" in shown
    assert "\\x1b[2J<b>\\u202e" in shown


def test_retryable_statuses_are_marked() -> None:
    assert SandboxApiException("x", status_code=503).is_retryable
    assert not SandboxApiException("x", status_code=404).is_retryable


def test_a_protocol_refuses_what_it_lacks() -> None:
    protocol = Protocol()
    names = [n for n, m in inspect.getmembers(Protocol, inspect.isfunction) if n[0] != "_"]

    for name in names:
        parameters = list(inspect.signature(getattr(protocol, name)).parameters.values())
        fillers = [Origin("x")] * sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
        keywords = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
        with pytest.raises(UnsupportedOperationException, match="has no operation for"):
            getattr(protocol, name)(*fillers, **keywords)
    assert len(names) > 20
