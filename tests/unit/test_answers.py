"""Answers and frames of terminals, cut anywhere and made of anything."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensandbox_jupyter.models.pty import PtyExit, PtyOutput, PtyProblem
from opensandbox_jupyter.ports import listening
from opensandbox_jupyter.transport.answer import Answer
from opensandbox_jupyter.transport.failures import Broken
from opensandbox_jupyter.wire.opensandbox import OpenSandbox

CUTS = st.lists(st.integers(1, 400), max_size=8)
read = OpenSandbox().pty_event


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    return [data[a:b] for a, b in pairwise(places)]


@given(body=st.binary(max_size=300), cuts=CUTS, streamed=st.booleans(), chunked=st.booleans())
def test_an_answer_is_the_same_wherever_it_is_cut(
    body: bytes, cuts: list[int], streamed: bool, chunked: bool
) -> None:
    if chunked and body:
        head, coded = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        head, coded = b"Content-Length: %d" % len(body), body
    answer = Answer(streamed=streamed)
    taken = b""

    for piece in cut(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, coded), cuts):
        answer.feed(memoryview(piece))
        taken += answer.take() if streamed else b""

    assert answer.done
    assert answer.reusable
    assert taken + answer.take() == body


MORE = st.binary(min_size=1, max_size=9).filter(lambda more: more.strip(b"\r\n"))


@given(body=st.binary(min_size=1, max_size=300), cuts=CUTS, more=MORE)
def test_what_comes_after_an_answer_is_not_part_of_it(
    body: bytes, cuts: list[int], more: bytes
) -> None:
    answer = Answer(streamed=True)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    for piece in cut(whole + more, cuts):
        answer.feed(piece)

    assert answer.take() == body
    assert not answer.reusable


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_no_bytes_do_more_than_break_an_answer(pieces: list[bytes]) -> None:
    answer = Answer(streamed=False)

    with suppress(Broken):
        for piece in pieces:
            answer.feed(piece)
        answer.end()


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_no_frame_does_more_than_say_nothing(frame: bytes | str) -> None:
    assert read(frame) is None or isinstance(read(frame), PtyOutput | PtyExit | PtyProblem)


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b"\1ab", PtyOutput(b"ab")),
        (b"\2", PtyOutput(b"", is_error=True)),
        (b"\3\0\0\0\0\0\0\1\0ab", PtyOutput(b"ab", 256)),
        (b"\3short", None),
        (b"\4ab", None),
        ('{"type":"exit","exit_code":9}', PtyExit(9)),
        ('{"type":"error","code":"X","error":"y"}', PtyProblem("X", "y")),
        ('{"type":"pong"}', None),
        ('{"type":"exit","exit_code":"9"}', None),
        ("[" * 10_000, None),
    ],
)
def test_frames_are_read(frame: bytes | str, event: object) -> None:
    assert read(frame) == event


def test_a_listening_socket_is_found_in_the_kernels_tables() -> None:
    tables = (
        "  sl  local_address rem_address   st\n"
        "   0: 00000000:1F90 00000000:0000 0A 0\n"
        "   1: 0100007F:1F91 00000000:0000 0A 0\n"
        "   2: 0100007F:1F92 0100007F:9999 01 0\n"
        "   3: 0A00000A:1F93 00000000:0000 0A 0\n"
        "   4: 00000000000000000000000000000000:1F94 00000000000000000000000000000000:0000 0A\n"
        "garbage\n"
    )

    assert [p for p in range(8080, 8086) if listening(tables, p)] == [8080, 8081, 8084]
