"""The command line of profiles: keys are typed unseen or piped in, and never shown."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from opensandbox_jupyter.cli import main
from opensandbox_jupyter.profiles import choose, list_profiles

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def say(*arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opensandbox_jupyter.cli", "profile", *arguments]
    return subprocess.run(command, input=key, capture_output=True, text=True)


def test_a_key_is_piped_in_and_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    added = say("add", "work", "--domain", "w:1", "--protocol", "https", "--use", key=f"{KEY}\n")
    assert (added.returncode, added.stderr) == (0, "")
    assert choose().api_key("w:1") == KEY

    assert main(["profile", "list"]) == main(["profile", "show"]) == 0
    said = capsys.readouterr().out
    assert "* work  w:1, key in the file" in said
    assert "profile: work (in use)\ndomain: w:1\nprotocol: https\nkey: in the file" in said
    assert KEY not in said + added.stdout


def test_a_key_is_typed_unseen() -> None:
    child, terminal = pty.fork()
    if not child:
        os.execv(
            sys.executable,
            [sys.executable, "-m", "opensandbox_jupyter.cli", "profile", "add", "a", "--domain=h"],
        )
    said = b""
    while b"API key" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, f"{KEY}\n".encode())
    try:
        while data := os.read(terminal, 1000):
            said += data
    except OSError:
        pass  # a terminal ends so
    os.close(terminal)

    assert os.waitpid(child, 0)[1] == 0
    assert KEY.encode() not in said
    assert choose("a").api_key("h") == KEY


def test_the_embedded_server_needs_no_key() -> None:
    assert main(["profile", "add", "here", "--use"]) == 0
    assert main(["profile", "add", "open", "--domain", "o:1", "--no-key"]) == 0

    assert [(p.name, p.key_in) for p in list_profiles()] == [
        ("default", None), ("here", None), ("open", None),
    ]  # fmt: skip
    assert main(["profile", "use", "default"]) == main(["profile", "remove", "here"]) == 0
    assert choose().name == "default"


def test_what_is_wrong_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "use", "nope"]) == main(["profile", "show", "nope"]) == 1
    assert main(["profile", "remove", "nope"]) == 1

    assert capsys.readouterr().err.count("error: InvalidArgumentException: There is no") == 3


def test_what_goes_before_a_profile_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN_SANDBOX_DOMAIN", "e:1")
    assert main(["profile", "list"]) == 0

    assert "OPEN_SANDBOX_DOMAIN" in capsys.readouterr().err


def test_credentials_in_an_address_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"https://me:{KEY}@h:1"
    assert main(["profile", "add", "a", "--domain", address, "--no-key"]) == 0
    assert main(["profile", "show", "a"]) == main(["profile", "list"]) == 0

    said = capsys.readouterr().out
    assert KEY not in said
    assert "https://***@h:1" in said
