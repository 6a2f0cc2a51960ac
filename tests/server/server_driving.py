"""A real server in a process of its own, for root and, where this machine allows, for a user."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

PACKAGE = Path(__file__).resolve().parents[2]
STARTED: list[Running] = []
ORDINARY_UID = 23_456
KEY = "OPEN-SANDBOX-API-KEY"


@dataclass
class Running:
    """A server under test."""

    process: subprocess.Popen[bytes]
    home: Path
    url: str
    key: str
    uid: int

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={KEY: self.key}, timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@dataclass
class Box:
    """One sandbox of a server under test."""

    server: httpx.Client
    info: dict

    @property
    def id(self) -> str:
        return self.info["id"]

    def now(self) -> dict:
        return self.server.get(f"/v1/sandboxes/{self.id}").json()

    def execd(self) -> httpx.Client:
        answer = self.server.get(f"/v1/sandboxes/{self.id}/endpoints/44772")
        assert answer.status_code == 200, answer.text
        endpoint = answer.json()
        return httpx.Client(
            base_url=f"http://{endpoint['endpoint']}", headers=endpoint["headers"], timeout=50
        )

    def run(self, command: str) -> tuple[int | None, str, str]:
        """Return exit code, standard output and standard error of a command inside."""
        with self.execd() as execd:
            answer = execd.post("/command", json={"command": command})
        assert answer.status_code == 200, answer.text
        events = [json.loads(line) for line in answer.text.split("\n\n") if line.strip()]
        text = dict.fromkeys(("stdout", "stderr"), "")
        code: int | None = None
        for event in events:
            if event["type"] in text:
                text[event["type"]] += event["text"]
            elif event["type"] == "execution_complete":
                code = 0
            elif event["type"] == "error":
                code = int(event["error"]["evalue"])
        return code, text["stdout"], text["stderr"]

    def output(self, command: str) -> str:
        code, out, err = self.run(command)
        assert code == 0, (code, out, err)
        return out.strip()


def environment(home: Path, uid: int | None = None) -> dict[str, str]:
    shared = Path(os.environ["XDG_CACHE_HOME"])  # servers of one user share what is compiled
    cache = shared if uid in {None, os.geteuid()} else shared.with_name(f"cache-{uid}")
    cache.mkdir(exist_ok=True)
    if uid is not None:
        os.chown(cache, uid, uid)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "OPENSANDBOX_JUPYTER_HOME": str(home / "opensandbox"),
        "PYTHONPATH": str(PACKAGE),
        "CANARY_OF_THE_USER": "canary-8c1f-environment",
    }


def command_of(uid: int) -> tuple[list[str], dict[str, str]]:
    """Return how to run the command line as ``uid``, and what that needs in the environment."""
    if uid == os.geteuid():
        return [sys.executable, "-m", "opensandbox_jupyter.cli"], {}
    python = shutil.which(
        f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin"
    )
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    variables = {"PYTHONPATH": os.pathsep.join([str(PACKAGE), *packages])}
    command = [*become, python or "", "-m", "opensandbox_jupyter.cli"]
    trial = (
        subprocess.run(
            [*command, "doctor"],
            env={
                "PATH": os.environ["PATH"],
                "OPENSANDBOX_JUPYTER_HOME": "/nonexistent",
                **variables,
            },
            cwd="/",
            capture_output=True,
            check=False,
        )
        if python
        else None
    )
    if trial is None or trial.returncode:
        pytest.skip("no Python and no sandbox for an ordinary user on this machine")
    return command, variables


def start(home: Path, uid: int | None = None, *options: str) -> Running:
    uid = os.geteuid() if uid is None else uid
    command, variables = command_of(uid)
    runtime_file = home / "opensandbox/run/server.json"
    before = runtime_file.read_bytes() if runtime_file.exists() else b""
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", *options],
        env={**environment(home, uid), **variables},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(home / "stderr").open("ab"),
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            text = runtime_file.read_bytes()
            if text and text != before:
                found = json.loads(text)
                running = Running(process, home, found["url"], found["api_key"], uid)
                STARTED.append(running)
                return running
        time.sleep(0.01)
    process.kill()
    process.wait()
    raise AssertionError((home / "stderr").read_text())


def create_box(client: httpx.Client, **more: object) -> Box:
    answer = client.post("/v1/sandboxes", json=body(**more))
    assert answer.status_code == 202, answer.text
    return Box(client, answer.json())


def body(**more: object) -> dict:
    return {
        "image": {"uri": "python"},
        "timeout": 600,
        "resourceLimits": {"cpu": "1", "memory": "512Mi"},
        "entrypoint": ["tail", "-f", "/dev/null"],
        **more,
    }


def processes_of(home: Path) -> list[psutil.Process]:
    """Return every process that shows the server's home in its files or arguments."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            maps = Path(f"/proc/{process.pid}/mountinfo").read_text()
            if f"{home.name}/opensandbox/data/sandboxes" in maps:
                found.append(process)
    return found


def assert_nothing_left(home: Path) -> None:
    assert wait_until(lambda: not processes_of(home)), processes_of(home)


def wait_until(test: Callable[[], object], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if test():
            return True
        time.sleep(0.02)
    return False
