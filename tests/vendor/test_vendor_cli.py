"""The vendor's own command line, unmodified and in its own virtual environment, on our server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from opensandbox_jupyter.local import ensure_server

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"


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
