"""Isolated sessions, asked for by the vendor's own SDK in its own virtual environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from opensandbox_jupyter.local import ensure_server

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"


def test_the_vendors_sdk_opens_isolated_sessions_on_our_server() -> None:
    assert PYTHON.exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
    }

    done = subprocess.run(
        [PYTHON, HERE / "isolated_scenario.py"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
