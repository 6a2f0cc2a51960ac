"""The event stream: decoded the same however the bytes are cut, and read into an execution."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import SandboxApiException, SandboxConnectionException
from opensandbox_jupyter.models.execd import Execution, OutputMessage
from opensandbox_jupyter.wire import events, execution
from opensandbox_jupyter.wire.execution import ExecutionReader

STREAM = [
    {"type": "init", "text": "e1", "timestamp": 1},
    {"type": "ping", "text": "pong", "timestamp": 2},
    {"type": "stdout", "text": "héllo\u2028\n", "timestamp": 3},
    {"type": "stderr", "text": "oops", "timestamp": 4},
    {"type": "newfangled", "text": "?", "timestamp": 5},
    {"type": "execution_complete", "execution_time": 6, "timestamp": 7},
]


def wire(frames: list[dict[str, object]], before: str = "", end: str = "\n\n") -> bytes:
    return "".join(before + json.dumps(f, ensure_ascii=False) + end for f in frames).encode()


def read(data: bytes, cuts: list[int], **options: Any) -> Execution:
    reader = ExecutionReader(**options)
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reader.feed(data[start:stop])
    return reader.finish()


def fail(code: str) -> list[dict[str, object]]:
    error = {"ename": "CommandExecError", "evalue": code, "traceback": None}
    return [STREAM[0], {"type": "error", "error": error, "timestamp": 2}]


@pytest.mark.parametrize(
    ("before", "end"), [("", "\n\n"), ("", "\n"), ("data: ", "\n\n"), ("data:", "\r\n\r\n")]
)
def test_a_stream_reads_the_same_cut_at_any_byte(before: str, end: str) -> None:
    data = wire(STREAM, before, end)
    whole = read(data, [])

    assert (whole.id, whole.stdout, whole.stderr) == ("e1", "héllo\u2028\n", "oops")
    assert (whole.exit_code, whole.complete.execution_time_in_millis) == (0, 6)
    for cut in range(len(data)):
        assert read(data, [cut]) == whole


def test_a_stream_reads_the_same_cut_many_times() -> None:
    rng = random.Random(7)
    data = wire(STREAM)
    whole = read(data, [])

    for _ in range(200):
        assert read(data, sorted(rng.choices(range(len(data)), k=9))) == whole


def test_a_frame_that_is_broken_costs_only_itself() -> None:
    rng = random.Random(11)
    for _ in range(200):
        noise = bytes(rng.randrange(256) for _ in range(40)).replace(b"\n", b"")
        data = wire(STREAM[:3]) + noise + b"\n\n" + wire(STREAM[3:])

        assert read(data, []).stderr == "oops"


def test_bytes_that_are_not_utf8_become_marks() -> None:
    data = wire(STREAM[:1]) + b'{"type":"stdout","text":"a\xffb"}\n\n' + wire(STREAM[-1:])

    assert read(data, []).stdout == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(("value", "code"), [("3", 3), ("-1", -1), ("no such file", None)])
def test_an_error_gives_the_exit_code_if_it_is_a_number(value: str, code: int | None) -> None:
    execution = read(wire(fail(value)), [])

    assert execution.exit_code == code
    assert (execution.error.value, execution.error.traceback) == (value, [])


def test_background_and_code_have_no_exit_code() -> None:
    assert read(wire(STREAM), [], has_exit_code=False).exit_code is None


def test_output_that_is_not_kept_is_still_told() -> None:
    reader = ExecutionReader(keep_output=0)

    told = reader.feed(wire(STREAM))

    assert [n.text for n in told if isinstance(n, OutputMessage)] == ["héllo\u2028\n", "oops"]
    assert reader.finish().logs.stdout == []


def test_a_cut_stream_is_an_error_and_no_success() -> None:
    with pytest.raises(SandboxConnectionException, match="before the command ended"):
        read(wire(STREAM[:-1]), [])


def test_a_last_frame_needs_no_blank_line() -> None:
    assert read(wire(STREAM).rstrip(b"\n"), []).exit_code == 0


def test_an_error_object_of_the_server_in_the_stream_is_raised() -> None:
    with pytest.raises(SandboxApiException, match="session is busy") as caught:
        read(wire([STREAM[0], {"code": "RUNTIME_ERROR", "message": "session is busy"}]), [])

    assert caught.value.error.code == "RUNTIME_ERROR"


def test_a_frame_beyond_all_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_FRAME", 1000)
    reader = ExecutionReader()

    with pytest.raises(SandboxConnectionException, match="longer than"):
        for _ in range(20):
            reader.feed(b"x" * 100)


def test_the_first_event_may_say_that_output_is_exact() -> None:
    dots: list[dict[str, object]] = [{"type": "stdout", "text": ".", "timestamp": 3}] * 3
    exact = {**STREAM[0], "exact": True}

    assert read(wire([exact, *dots, STREAM[-1]]), []).stdout == "..."
    assert read(wire([STREAM[0], *dots, STREAM[-1]]), []).stdout == ".\n.\n."


def test_what_is_left_out_is_counted_and_the_latest_results_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "MOST_KEPT", 5000)
    shown = [{"type": "result", "results": {"text": str(n)}, "timestamp": 1} for n in range(10)]
    lines = [{"type": "stdout", "text": f"{n}\n", "timestamp": 1} for n in range(10)]

    done = read(wire([{**STREAM[0], "exact": True}, *lines, *shown, STREAM[-1]]), [], keep_output=8)

    assert done.stdout == "0\n1\n\n[... 12 characters are left out here ...]\n8\n9\n"
    assert [r.text for r in done.result] == ["6", "7", "8", "9"]
    logs = done.logs
    counted = (logs.dropped_messages, logs.dropped_characters, logs.dropped_results)
    assert counted == (6, 12, 6)


def test_a_notebook_draws_plain_text_and_pixels_only() -> None:
    hostile = {
        "text": "\x1b]0;title\x07\u202epicture",
        "text/html": "<script>",
        "image/svg+xml": "<svg onload=...>",
        "image/png": "iVBORw0KGgo=",
        "image/jpeg": '"><script>',
        "application/json": {"a": [1]},
    }
    result = {"type": "result", "results": hostile, "timestamp": 1}

    done = read(wire([STREAM[0], result, STREAM[-1]]), [], has_exit_code=False)

    assert done._repr_mimebundle_() == done.result[0]._repr_mimebundle_() == {
        "text/plain": r"\x1b]0;title\x07\u202epicture",
        "image/png": "iVBORw0KGgo=",
    }  # fmt: skip
    assert done.result[0].data["text/html"] == "<script>"
    assert done.result[0].data["text/plain"] == hostile["text"]
    assert done.result[0].data["application/json"] == {"a": [1]}


def test_a_notebook_shows_how_a_run_ended_and_no_endless_text() -> None:
    long = {"type": "stdout", "text": "x" * 300_000, "timestamp": 1}
    error = {"type": "error", "timestamp": 2, "error": {"ename": "Oh", "evalue": "no"}}

    shown = read(wire([STREAM[0], long, error]), [])._repr_mimebundle_()["text/plain"]

    assert shown.endswith("x\nOh: no")
    assert len(shown) < 110_000


def test_an_execution_is_told_as_text_and_written_down_as_a_model() -> None:
    frames: list[dict[str, object]] = [
        {"type": "init", "text": "e1", "timestamp": 1, "exact": True},
        {"type": "stdout", "text": "one\r\n\n", "timestamp": 2},
        {"type": "stderr", "text": "two\n", "timestamp": 3},
        *fail("3")[1:],
    ]
    execution = read(wire(frames), [])

    assert str(execution) == "one\n[stderr]\ntwo\n[error] CommandExecError: 3"
    assert str(read(wire([STREAM[0], STREAM[-1]]), [])) == ""
    told = execution.model_dump()
    assert (told["id"], told["exit_code"], told["complete"]) == ("e1", 3, None)
    assert [line["text"] for line in told["logs"]["stdout"]] == ["one\r\n", "\n"]
    assert told["logs"]["stdout"][1] == {"text": "\n", "timestamp": 2, "is_error": False}
    assert json.loads(execution.model_dump_json()) == told
    assert "complete" not in execution.model_dump(exclude_none=True)
    assert execution.logs.stderr[0].model_dump(mode="json")["is_error"] is True
