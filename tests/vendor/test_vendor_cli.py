"""The vendor's own command line, unmodified and in its own virtual environment, on our server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensandbox_jupyter.local import ensure_server

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_vendors_command_line_works_on_our_server() -> None:
    assert PYTHON.exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
    }

    done = subprocess.run(
        [PYTHON, HERE / "cli_scenario.py"], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


def test_the_vendors_command_line_reads_the_profile_file_that_we_write(tmp_path: Path) -> None:
    server = ensure_server()
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPEN_SANDBOX")}
    env["HOME"] = str(tmp_path)

    def call(*command: object, key: str = "") -> str:
        done = subprocess.run(command, env=env, input=key, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ours = (sys.executable, "-m", "opensandbox_jupyter.cli", "profile")
    osb = PYTHON.with_name("osb")
    domain = server.url.removeprefix("http://")
    call(*ours, "add", "work", "--domain", "elsewhere:1", "--use", key="another-key")
    call(*ours, "add", "default", "--domain", domain, "--request-timeout", "20", key=server.api_key)

    assert json.loads(call(osb, "sandbox", "list", "-o", "json")) is not None
    call(osb, "config", "set", "output.color", "false")  # it writes the file, too
    assert "* work  elsewhere:1, key in the file" in call(*ours, "list")
    assert server.api_key not in call(*ours, "show", "default") + call(*ours, "list")
