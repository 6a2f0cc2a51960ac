"""Output that is kept as text is, for a program, a list of messages like any other."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import tracemalloc

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


def limited(pieces: list[str], limit: int | None) -> KeptOutput:
    kept = KeptOutput(limit)
    for piece in pieces:
        kept.add([piece], [7])
    return kept


@pytest.mark.parametrize("limit", [0, 1, 2, 9, 1000, 70_001])
@pytest.mark.parametrize("size", [1, 3, 700, 90_000])
def test_of_too_much_the_beginning_and_the_end_are_kept(limit: int, size: int) -> None:
    text = "".join(f"é{n:07}" for n in range(20_000))
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    head, tail = text[: limit // 2], text[len(text) - (limit - limit // 2) :]
    left_out = len(text) - limit

    kept = limited(pieces, limit)

    assert kept.text() == f"{head}\n[... {left_out} characters are left out here ...]\n{tail}"
    assert kept.dropped_characters == left_out
    assert abs(kept.dropped_messages - left_out // size) <= 2
    assert "".join(message.text for message in kept.messages()) == kept.text()


@pytest.mark.parametrize("limit", [800, 801, None])
def test_what_fits_is_whole(limit: int | None) -> None:
    kept = limited(["1234567\n"] * 100, limit)

    assert kept.text() == "1234567\n" * 100
    assert (kept.dropped_characters, kept.dropped_messages) == (0, 0)
    assert len(kept.messages()) == 100


def test_an_endless_output_takes_no_more_memory_than_it_may() -> None:
    kept = KeptOutput(1_000_000)
    texts = ["x" * 79 + "\n"] * 100
    tracemalloc.start()
    for _ in range(2000):
        kept.add(texts, [1] * 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4_000_000
    assert len(kept.text()) < 1_000_100
