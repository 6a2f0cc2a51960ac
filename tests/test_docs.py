"""What the documents say is there is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
TESTS = "\n".join(path.read_text() for path in (TOP / "tests").rglob("test_*.py"))
FILES = {path.name for path in (TOP / "tests").rglob("*.py")}
PAGE = (TOP / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(?:tests/\w+/)?(test_\w+(?:\.py)?)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_security_rests_on_is_there(name: str) -> None:
    assert name in FILES if name.endswith(".py") else re.search(rf"\bdef {name}\(", TESTS)
