"""Output that is kept as text is, for a program, a list of messages like any other."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from opensandbox_jupyter.models.execd import Execution, ExecutionLogs, OutputMessage
from opensandbox_jupyter.models.output import KeptOutput

MANY = [OutputMessage(f"{'é' * (n % 3)}{n}\n", n) for n in range(2000)]


def logs_of(messages: list[OutputMessage]) -> ExecutionLogs:
    logs = ExecutionLogs.of(kept := KeptOutput(), KeptOutput(is_error=True))
    for start in range(0, len(messages), 7):
        some = messages[start : start + 7]
        kept.add([m.text for m in some], [m.timestamp for m in some])
    return logs


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 2000])
def test_messages_and_text_are_those_that_came(count: int) -> None:
    logs = logs_of(MANY[:count])
    text = "".join(m.text for m in MANY[:count])

    assert Execution(logs=logs).stdout == text
    assert type(logs.stdout) is list
    assert logs.stdout == MANY[:count]
    assert logs.stdout is logs.stdout
    assert Execution(logs=logs).stdout == text
    assert (logs.stderr, Execution(logs=logs).stderr) == ([], "")


def test_what_a_program_changes_is_what_it_reads() -> None:
    execution = Execution(logs=logs_of(MANY[:3]))
    execution.logs.add_stdout(OutputMessage("more"))
    execution.logs.stderr = [OutputMessage("oops", 1, True)]
    del execution.logs.stdout[0]

    assert execution.stdout == "é1\néé2\nmore"
    assert execution.stderr == "oops"


def test_what_comes_after_a_look_is_in_the_list_too() -> None:
    logs = ExecutionLogs.of(kept := KeptOutput(), KeptOutput())
    kept.add(["one"], [1])
    seen = logs.stdout
    kept.add(["two"], [2])

    assert seen == [OutputMessage("one", 1), OutputMessage("two", 2)]
    assert kept.text() == Execution(logs=logs).stdout == "onetwo"


@pytest.mark.parametrize("looked", [False, True])
def test_kept_output_is_equal_copied_and_shown_like_any_other(looked: bool) -> None:
    plain = ExecutionLogs(stdout=MANY[:600])

    def fresh() -> ExecutionLogs:
        logs = logs_of(MANY[:600])
        assert not looked or len(logs.stdout) == 600
        return logs

    assert fresh() == plain == fresh()
    assert repr(fresh()) == repr(plain)
    for twin in (
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda x: pickle.loads(pickle.dumps(x)),
    ):
        assert twin(fresh()) == plain
    assert dataclasses.asdict(fresh()) == dataclasses.asdict(plain)
    with pytest.raises(AttributeError, match="'ExecutionLogs' object has no attribute 'stdin'"):
        _ = fresh().stdin  # type: ignore[attr-defined]


def test_a_clock_beyond_reason_costs_no_output() -> None:
    late = [OutputMessage(str(n), 10**30) for n in range(600)]

    assert logs_of(late).stdout == late
