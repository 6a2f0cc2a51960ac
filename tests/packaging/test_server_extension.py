"""The extension in a real Jupyter server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import opensandbox_jupyter
from opensandbox_jupyter import SandboxSync
from opensandbox_jupyter.local import find_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client, with the token, of a Jupyter server below ``/base/``."""
    base = tmp_path_factory.mktemp("server")
    names = ("CONFIG", "DATA", "RUNTIME")
    folders = {f"JUPYTER_{name}_DIR": str(base / name.lower()) for name in names}
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
    command += ["--ServerApp.port=0", "--ServerApp.base_url=/base/", f"--ServerApp.root_dir={base}"]
    command += ["--ServerApp.jpserver_extensions=opensandbox_jupyter=True"]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | folders, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        facts = _facts(process, base / f"runtime/jpserver-{process.pid}.json", base / "log")
        token = {"Authorization": f"token {facts['token']}"}
        with httpx.Client(base_url=facts["url"], headers=token, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def _facts(process: subprocess.Popen[bytes], info: Path, log: Path) -> dict[str, str]:
    while process.poll() is None:
        if info.exists() and (text := info.read_text(encoding="utf-8")):
            return dict(json.loads(text))
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_strangers_learn_nothing(server: httpx.Client) -> None:
    reply = httpx.get(f"{server.base_url}opensandbox/api/status")

    assert reply.status_code == 403
    assert opensandbox_jupyter.__version__ not in reply.text


def test_status_counts_sandboxes_and_keeps_the_key(server: httpx.Client) -> None:
    with SandboxSync.create("base") as sandbox:
        reply = server.get("opensandbox/api/status")
        sandbox.kill()
    local = find_server()
    assert local is not None

    status = reply.json()["server"]

    assert reply.status_code == 200
    assert reply.json()["version"] == opensandbox_jupyter.__version__
    assert status["running"] is True
    assert status["version"] == local.version
    assert status["sandboxes"] >= 1
    assert status["problem"] is None
    assert local.api_key not in reply.text


def test_status_says_that_no_server_runs_and_starts_none(
    server: httpx.Client,
) -> None:
    stop = [sys.executable, "-m", "opensandbox_jupyter.cli", "stop"]
    subprocess.run(stop, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    status = server.get("opensandbox/api/status").json()["server"]

    assert status["running"] is False
    assert status["sandboxes"] is None
    assert find_server() is None
