"""What a user's checker sees: mypy and pyright, both strict, over the program of a user."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LAZY = ("opensandbox_jupyter", "opensandbox_jupyter.models", "opensandbox_jupyter.models.sandboxes")
"""Modules whose names are loaded when they are first used."""
Findings = dict[str, dict[int, list[str]]]

pytestmark = pytest.mark.timeout(300)


def said(folder: Path, *command: str) -> str:
    """Return what a checker says; it may fetch nothing, whatever its settings are here."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYRIGHT_")}
    env |= {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Give the file, line and text of each fault that mypy finds."""
    strict = ("--strict", "--disallow-any-expr", "--no-error-summary", "--no-pretty")
    for line in said(folder, "mypy", *strict, ".").splitlines():
        told = re.fullmatch(r"(\w+\.py):(\d+): (error|note): (.*)", line)
        assert told, line
        if told[3] == "error":
            yield told[1], int(told[2]), told[4]


def pyright(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Give the file, line and text of each fault that pyright finds."""
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    answer = said(folder, "pyright", "--outputjson", "--pythonpath", sys.executable)
    for told in json.loads(answer)["generalDiagnostics"]:
        yield Path(told["file"]).name, told["range"]["start"]["line"] + 1, told["message"]


@pytest.fixture(scope="module", params=[mypy, pyright], ids=lambda check: check.__name__)
def findings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What one checker finds in a user's own folder, by file and line."""
    folder = tmp_path_factory.mktemp("user")
    for file in ("program.py", "mistakes.py"):
        shutil.copy(HERE / file, folder)
    wanted = ((name, dir(importlib.import_module(name))) for name in LAZY)
    names = [f"from {module} import {name} as {name}" for module, all in wanted for name in all]
    (folder / "names.py").write_text("\n".join(names) + "\n")
    found: Findings = defaultdict(lambda: defaultdict(list))
    for file, line, text in request.param(folder):
        found[file][line].append(text)
    return found


def test_a_users_program_has_no_fault_and_nothing_unknown(findings: Findings) -> None:
    assert findings["program.py"] == {}


def test_every_name_is_seen_that_is_loaded_late(findings: Findings) -> None:
    assert findings["names.py"] == {}


def test_a_users_mistakes_are_found_where_they_are(findings: Findings) -> None:
    lines = (HERE / "mistakes.py").read_text(encoding="utf-8").splitlines()

    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}

    assert set(findings["mistakes.py"]) == wrong
