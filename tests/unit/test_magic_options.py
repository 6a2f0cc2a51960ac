"""The line of a magic: what is an option, what is the command, and how a mistake is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.magics.execute import read_order
from opensandbox_jupyter.magics.options import HelpWanted, duration, line_range, read_env_file
from opensandbox_jupyter.magics.verbs import VERBS, find_verb


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("30s", 30),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("500ms", 0.5),
        ("1.5m", 90),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "10x", "1h30", "soon", "nan", "99999999999999999d"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidArgumentException, match="not a duration") as caught:
        read_order(f"--timeout='{text}' ls", None)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("ls -l", "ls -l"),
        ("--cwd /tmp ls -l --color 'a b'", "ls -l --color 'a b'"),
        ('--cwd=/tmp -o r echo $HOME {x} "it\'s"', 'echo $HOME {x} "it\'s"'),
        ("--no-raise -- --version", "--version"),
        ('"sleep 600"', "sleep 600"),
        ("'a b' c", "'a b' c"),
        ("echo 'unclosed", "echo 'unclosed"),
        ("awk '{print $1}' f", "awk '{print $1}' f"),
        ("--env A='b c' printenv A", "printenv A"),
    ],
)
def test_the_command_is_kept_as_it_was_typed(line: str, command: str) -> None:
    assert read_order(line, None).command == command
    assert read_order(line, "\n").command == command


def test_a_cell_is_the_script_and_its_line_holds_options_only() -> None:
    order = read_order(
        "--cwd /w --env A=1 --env B=x=y --timeout 30s --bg --no-raise -o r", "a\nb\n"
    )
    assert order.command == "a\nb\n"
    assert order.opts.working_directory == "/w"
    assert order.opts.envs == {"A": "1", "B": "x=y"}
    assert order.opts.timeout == timedelta(seconds=30)
    assert (order.in_background, order.check, order.bind_to) == (True, False, "r")
    with pytest.raises(InvalidArgumentException, match="Both the line and the cell"):
        read_order("python", "print(1)")


def test_a_variable_can_be_taken_over_without_its_value_on_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    assert read_order("--env TOKEN env", None).opts.envs == {"TOKEN": "s3cret"}
    monkeypatch.delenv("TOKEN")
    with pytest.raises(InvalidArgumentException, match="no variable TOKEN"):
        read_order("--env TOKEN env", None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--tiemout 3 ls", "did you mean --timeout"),
        ("--cwd", "expected one argument"),
        ("--env 1A=2 ls", "not a variable's name"),
        ("", "nothing to run"),
        ("-o 1x ls", "not a variable's name"),
        ("--cwd 'open", "quotation"),
    ],
)
def test_mistakes_are_one_sentence(line: str, told: str) -> None:
    with pytest.raises(InvalidArgumentException, match=told) as caught:
        read_order(line, None)
    assert "\n" not in (caught.value.message or "")


def test_help_is_asked_for_before_anything_is_checked() -> None:
    for line in ("-h", "--timeout -h", "--help ls"):
        with pytest.raises(HelpWanted, match="--timeout TIME"):
            read_order(line, None)
    for verb in VERBS.values():
        with pytest.raises(HelpWanted, match=f"usage: %sandbox {verb.name}"):
            verb.parser.parse_line("-h")
    assert read_order("ls -h", None).command == "ls -h"


def test_verbs_parse_and_unknown_ones_are_guessed() -> None:
    options = find_verb("create").parser.parse_line(
        "python:3.11 --name x --meta a=b --cpu 2 --keep"
    )
    assert (options.image, options.name, options.meta) == ("python:3.11", "x", [("a", "b")])
    assert find_verb("kill").parser.parse_line("a --all b").names == ["a", "b"]
    with pytest.raises(InvalidArgumentException, match="did you mean create"):
        find_verb("craete")
    with pytest.raises(InvalidArgumentException, match="did you mean --memory"):
        find_verb("create").parser.parse_line("--memroy 2Gi")
    with pytest.raises(InvalidArgumentException, match="required"):
        find_verb("show").parser.parse_line("")


def test_line_ranges() -> None:
    assert line_range("5:9") == (5, 9)
    assert line_range("5:") == (5, None)
    assert line_range(":9") == (1, 9)
    with pytest.raises(InvalidArgumentException, match="range of lines"):
        find_verb("show").parser.parse_line("1 --lines 9:5")


def test_env_files(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# comment\n\nA=1\nexport B='two words'\nC = \"x=y\"\n")
    assert read_env_file(str(file)) == {"A": "1", "B": "two words", "C": "x=y"}
    file.write_text("A=1\nnot a pair\n")
    with pytest.raises(InvalidArgumentException, match="Line 2"):
        read_env_file(str(file))
    with pytest.raises(InvalidArgumentException, match="cannot be read"):
        read_env_file(str(tmp_path / "none"))
