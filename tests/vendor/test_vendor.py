"""The vendor's own SDK, unmodified and in its own virtual environment, on our server."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import threading
from pathlib import Path

from opensandbox_jupyter.local import ensure_server

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"


def run(script: str, *arguments: str) -> None:
    assert PYTHON.exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
    }

    done = subprocess.run(
        [PYTHON, HERE / script, *arguments], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


def test_the_vendors_sdk_cannot_tell_our_server_from_its_own() -> None:
    run("scenario.py")


def test_the_vendors_sdk_changes_what_a_sandbox_may_reach(tmp_path: Path) -> None:
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as target:
        threading.Thread(target=target.serve_forever, daemon=True).start()
        run("egress_scenario.py", str(target.server_address[1]))
        target.shutdown()


def test_the_vendors_code_interpreter_finds_its_contexts() -> None:
    run("code_scenario.py")


def test_the_vendors_command_line_works_on_our_server() -> None:
    run("cli_scenario.py")


def test_the_vendors_sdk_keeps_credentials_in_our_vault() -> None:
    run("vault_scenario.py")
