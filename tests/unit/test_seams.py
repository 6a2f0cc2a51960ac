"""Line ends: kept where a daemon sends them, put back where it does not."""

from __future__ import annotations

import pytest

from opensandbox_jupyter.wire.seams import Seams


def joined(pieces: list[str]) -> str:
    seams = Seams()
    return "".join("".join(seams.join([piece])) for piece in pieces)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["one", "two"], "one\ntwo"),
        (["one", "\n", "tail"], "one\n\ntail"),
        (["\n", "one"], "\none"),
        (["one", "\n", "\n", "two"], "one\n\n\ntwo"),
        (["only"], "only"),
    ],
)
def test_older_daemons_get_their_line_ends_back(pieces: list[str], text: str) -> None:
    assert joined(pieces) == text


@pytest.mark.parametrize(
    "pieces",
    [
        ["one\n", "two\n", "tail"],
        ["one\n", "\n", "\n", "two\n"],
        ["\n", "one\n"],
        ["\n", "\n", "one\n"],
        ["one\n", "par", "tial\n", "."],
        ["many\nlines\n", "more"],
        ["50%\r", "100%\r\n"],
    ],
)
def test_newer_daemons_are_left_alone(pieces: list[str]) -> None:
    assert joined(pieces) == "".join(pieces)
