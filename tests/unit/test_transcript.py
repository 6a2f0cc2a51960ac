"""What a person sees of a program's output: folded, harmless, bounded; however it is cut."""

from __future__ import annotations

import random
import re

import pytest

from opensandbox_jupyter.magics.escape import Cleaner, Move, Text, Token, visible
from opensandbox_jupyter.magics.sgr import painted
from opensandbox_jupyter.magics.transcript import Transcript

_HINT = "`%sandbox show 1`"
_SGR = re.compile(r"\x1b\[[0-9;]*m")


def panes(*chunks: str, is_error: bool = False, ticks: int = 0) -> list[str]:
    """All panes of an output; drawn every ``ticks`` chunks on the way, if asked."""
    transcript = Transcript(_HINT)
    shown: list[str] = []

    def collect() -> None:
        while (frozen := transcript.frozen()) is not None:
            shown.append(frozen)

    for number, chunk in enumerate(chunks, 1):
        transcript.feed(chunk, is_error)
        if ticks and number % ticks == 0:
            transcript.advance()
            collect()
            transcript.pane()
    transcript.close()
    collect()
    return [*shown, transcript.pane()]


def tokens(*chunks: str) -> list[Token]:
    """Tokens of an output, neighbouring texts of one style joined."""
    cleaner = Cleaner()
    joined: list[Token] = []
    for token in [t for c in chunks for t in cleaner.feed(c)] + cleaner.close():
        last = joined[-1] if joined else None
        if isinstance(token, Text) and isinstance(last, Text) and last.style == token.style:
            joined[-1] = Text(last.text + token.text, token.style)
        else:
            joined.append(token)
    return joined


def shown(text: str) -> str:
    return "".join(painted(t.style, t.text) for t in tokens(text) if isinstance(t, Text))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("hello\nworld\n", "hello\nworld"),
        ("dos\r\nlines\r\r\n", "dos\nlines"),
        ("10%\r20%\r100%\n", "100%"),
        ("longer\rshort\n", "shortr"),
        ("longer\r\x1b[Kshort\n", "short"),
        ("abc\b\bX\n", "aXc"),
        ("a\nb\nc\n\x1b[2A\x1b[2KB\x1b[1B\rC\n", "a\nB\nC"),
        ("one\ntwo\x1b[1A\r\x1b[Jthree", "three"),
        ("\x1b[2J\x1b[Hclean\n", "clean"),
        ("a\tb\rX\n", "X       b"),
        ("wide 界界\rW\n", "Wide 界界"),
        ("\x1b[31mred\x1b[0m plain", "\x1b[31mred\x1b[0m plain"),
        ("\x1b[31mred\nstill\x1b[m", "\x1b[31mred\x1b[0m\n\x1b[31mstill\x1b[0m"),
        ("\x1b[1;4;38;5;208mx\x1b[22;39my", "\x1b[1;4;38;5;208mx\x1b[0m\x1b[4my\x1b[0m"),
        ("\x1b[38:2::1:2:3mx", "\x1b[38;2;1;2;3mx\x1b[0m"),
        ("\x1b[31mred\r\x1b[32mG\n", "\x1b[32mG\x1b[0m\x1b[31med\x1b[0m"),
    ],
)
def test_output_is_folded_as_a_terminal_would(output: str, expected: str) -> None:
    assert panes(output) == [expected]


def test_standard_error_is_red_unless_the_program_chose_otherwise() -> None:
    assert panes("bad\n", is_error=True) == ["\x1b[31mbad\x1b[0m"]
    assert panes("\x1b[33mwarn\x1b[0m\n", is_error=True) == ["\x1b[33mwarn\x1b[0m"]


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b]0;title\x07",
        "\x1b]52;c;Y2xpcA==\x07",
        "\x1b]52;c;Y2xpcA==\x1b\\",
        "\x9d52;c;Y2xpcA==\x9c",
        "\x1bPq#0;2;0;0;0\x1b\\",
        "\x90+q544e\x9c",
        "\x1b_apc\x1b\\",
        "\x1b^pm\x1b\\",
        "\x1bXsos\x1b\\",
        "\x1b[c",
        "\x1b[6n",
        "\x1b[>0q",
        "\x9b6n",
        "\x1b[?1049h",
        "\x1b[?3h",
        "\x1b[5m",
        "\x1b[8m",
        "\x1b(0",
        "\x1bc",
        "\x1b#8",
        "\x07\x0e\x0f",
        "\x1b]8;;javascript:alert(1)\x07",
        "\x1b]8;;file:///etc/passwd\x1b\\",
        "\x1b]1337;File=inline=1:AAAA\x07",
    ],
)
def test_what_a_terminal_would_obey_is_dropped_wherever_it_is_cut(hostile: str) -> None:
    output = f"be{hostile}fore"
    assert tokens(output) == [Text("before", "")]
    assert tokens(*output) == [Text("before", "")]
    for cut in range(len(output)):
        assert tokens(output[:cut], output[cut:]) == [Text("before", "")]


def test_links_show_their_true_target() -> None:
    link = "\x1b]8;id=1;https://evil.example/\x1b\\https://bank.example\x1b]8;;\x1b\\!"
    assert tokens(*link) == [Text("https://bank.example <https://evil.example/>!", "")]
    same = "\x1b]8;;https://a.example\x07https://a.example\x1b]8;;\x07"
    assert shown(same) == "https://a.example"
    assert shown("\x1b]8;;http://a.example/\u202etxt\x07x") == "x <http://a.example/\\u202etxt>"


@pytest.mark.parametrize(
    "char", list("\x00\x01\x7f\x80\x85\u200b\u200d\u2028\u202e\u2066\ufeff\xad")
)
def test_characters_that_hide_or_reorder_are_spelled_out(char: str) -> None:
    assert shown(f"a{char}b") == f"a{ascii(char)[1:-1]}b"
    assert char not in visible(f"a{char}b")


def test_lone_surrogates_and_tag_characters_can_be_sent_to_a_front_end() -> None:
    for pane in panes("a\ud800b\U000e0041c"):
        pane.encode()
        assert pane == "a\\ud800b\\U000e0041c"


def test_an_unfinished_string_does_not_swallow_what_follows_for_ever() -> None:
    assert shown("\x1b]0;no end\nnext line") == "\nnext line"
    lost = "\x1bP" + "x" * (1 << 21)
    assert tokens(lost, "back\n") == [Text("back\n", "")]


def test_cuts_change_nothing() -> None:
    dice = random.Random(20)
    parts = [
        *(
            "word ",
            "\n",
            "\r\n",
            "\r",
            "\t",
            "é界",
            "\b",
            "\x1b[K",
            "\x1b[A",
            "\x1b[2J",
            "\x1b[3;4H",
        ),
        *(
            "\x1b[31m",
            "\x1b[0m",
            "\x1b[38;5;9m",
            "\x1b]0;t\x07",
            "\x1b]8;;http://x/\x1b\\",
            "\u202e",
        ),
        *(
            "\x1b]8;;\x07",
            "\x1bP1q\x1b\\",
            "\x9b1m",
            "\x1b7",
            "\x1b8",
            "\x1bM",
            "\x1b[9999B",
            "\x1b[",
        ),
    ]
    for _ in range(150):
        output = "".join(dice.choice(parts) for _ in range(dice.randrange(1, 60)))
        whole = panes(output)
        assert panes(*output, ticks=3) == whole, repr(output)
        cut = dice.randrange(len(output) + 1)
        assert panes(output[:cut], output[cut:], ticks=1) == whole, repr(output)


def test_only_colours_leave_whatever_comes_in() -> None:
    dice = random.Random(7)
    alphabet = [chr(c) for c in range(0x100)] + list("\x1b\x1b\x1b[[]]m;0123\u202e\u200b\ud83d")
    for _ in range(60):
        output = "".join(dice.choice(alphabet) for _ in range(2000))
        for pane in panes(output):
            rest = _SGR.sub("", pane)
            assert rest == visible(rest)


def test_a_million_lines_become_head_tail_and_an_exact_count() -> None:
    block = "".join(f"{n:06}\n" for n in range(1000))
    result = panes(*[block] * 1000, ticks=20)
    assert sum(len(pane) for pane in result) < 700_000
    assert result[0].startswith("000000\n000001\n")
    marker, *tail = result[-1].split("\n")
    hidden = int(re.search(r"([\d,]+) lines hidden", marker)[1].replace(",", ""))
    visible_lines = sum(pane.count("\n") + 1 for pane in result[:-1]) + len(tail)
    assert hidden + visible_lines == 1_000_000
    assert tail[-1] == "000999"
    assert _HINT in marker


def test_no_more_than_the_budget_is_shown_and_no_less() -> None:
    lines = [f"line {n}\n" for n in range(4900)]
    whole = "\n".join(panes(*lines, ticks=100))
    assert whole + "\n" == "".join(lines)


def test_one_endless_line_is_bounded() -> None:
    result = panes(*["x" * 65536] * 400, ticks=50)
    assert sum(len(pane) for pane in result) < 700_000
    assert "hidden" in result[-1]


def test_progress_far_faster_than_drawing_ends_with_its_last_frame() -> None:
    frames = [f"\r{n:3}% {'#' * (n % 50):50}" for n in range(20_000)]
    result = panes("start\n", *frames, "\r\x1b[Kdone\n", ticks=2000)
    assert result == ["start\ndone"]


def test_many_colours_are_bounded() -> None:
    result = panes("".join(f"\x1b[3{n % 8}m{n % 10}" for n in range(100_000)))
    assert sum(len(_SGR.findall(pane)) for pane in result) < 20_000
    assert "0123456789" in result[-1]


def test_lines_after_a_progress_bar_are_all_there() -> None:
    lines = "".join(f"{n}\n" for n in range(1000))
    assert panes("50%\r100%\n", lines) == [f"100%\n{lines}".rstrip("\n")]


def test_movements_are_tokens_with_bounded_numbers() -> None:
    assert tokens("\x1b[99999999999999A") == [Move("A", (9999,))]
