"""Finding and starting the server, and its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from server_driving import PACKAGE, environment, wait_until

from opensandbox_jupyter.exceptions import IsolationUnavailableException, LocalServerException
from opensandbox_jupyter.local import ensure_server, find_server

ENSURE = """
from opensandbox_jupyter.local import ensure_server
server = ensure_server()
print(server.url, server.pid)
"""


@pytest.fixture
def home(make_home: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = make_home(os.geteuid())
    monkeypatch.setenv("OPENSANDBOX_JUPYTER_HOME", str(home / "opensandbox"))
    yield home
    cli(home, "stop")


def cli(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opensandbox_jupyter.cli", *arguments],
        env={**environment(home), **more},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ten_at_once_get_one_server(home: Path) -> None:
    callers = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE],
            env=environment(home),
            cwd=PACKAGE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(10)
    ]
    said = {caller.communicate(timeout=60)[0] for caller in callers}

    assert all(caller.returncode == 0 for caller in callers)
    assert len(said) == 1
    assert str(find_server().pid) in said.pop()


def test_status_stop_and_again(home: Path) -> None:
    assert find_server() is None
    assert cli(home, "status").returncode == 3
    server = ensure_server()
    assert server.api_key not in repr(server)
    assert ensure_server() == server
    told = cli(home, "status")
    assert server.url in told.stdout
    assert server.api_key not in told.stdout + told.stderr
    assert cli(home, "stop").returncode == 0
    assert find_server() is None
    assert not (home / "opensandbox/run/server.json").exists()
    assert ensure_server().pid != server.pid


def test_it_goes_on_after_its_starter(home: Path) -> None:
    starter = subprocess.run(
        [sys.executable, "-c", ENSURE],
        env=environment(home),
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        check=True,
    )
    pid = int(starter.stdout.split()[1])
    assert psutil.pid_exists(pid)
    assert os.getsid(pid) == pid


def test_its_log_stays_small(home: Path) -> None:
    server = ensure_server()
    log = next((home / "opensandbox").rglob("server.log"))
    flood = "".join(f"line {number} {'x' * 90}\n" for number in range(60_000))
    with log.open("ab", buffering=0) as file:
        file.write(flood.encode())  # at once: the server cuts its log whenever it looks

    def is_cut() -> bool:
        lines = log.read_text().splitlines()  # none, for a moment, while it is cut
        ends = [line.partition(" x")[0] for line in (*lines[:1], *lines[-1:])]
        return len(lines) < 30_000 and ends[1:] == ["line 59999"] and ends[0].startswith("line ")

    assert wait_until(is_cut)
    assert find_server() == server


def test_a_stale_file_is_not_believed(home: Path) -> None:
    server = ensure_server()
    path = home / "opensandbox/run/server.json"
    text = path.read_text()
    foreign = {**json.loads(text), "nonce": "0" * 32}
    path.write_text(json.dumps(foreign))
    assert find_server() is None
    path.write_text("{")
    assert find_server() is None
    path.write_text(text)
    assert find_server() == server


@pytest.mark.parametrize("fault", ["open to others", "a link"])
def test_a_file_of_somebody_else_is_refused(home: Path, fault: str) -> None:
    ensure_server()
    path = home / "opensandbox/run/server.json"
    kept = path.with_name("kept")
    path.rename(kept)
    if fault == "a link":
        path.symlink_to(kept)
    else:
        path.write_bytes(kept.read_bytes())
        path.chmod(0o644)
    with pytest.raises(LocalServerException):
        find_server()
    path.unlink()
    kept.rename(path)


def test_an_idle_server_ends(home: Path) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "opensandbox_jupyter.cli",
            "serve",
            "--port",
            "0",
            "--idle-shutdown",
            "0.01",
        ],
        env=environment(home),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.wait(30) == 0


def test_without_bubblewrap_one_sentence_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(hide_bubblewrap(home)))
    with pytest.raises(IsolationUnavailableException, match="apt-get install bubblewrap"):
        ensure_server()
    doctor = cli(home, "doctor", PYTHONPATH=f"{hide_bubblewrap(home)}:{PACKAGE}")
    assert doctor.returncode == 1
    assert "apt-get install bubblewrap" in doctor.stdout


def hide_bubblewrap(home: Path) -> Path:
    """A host without bubblewrap: nothing is found under its name."""
    directory = home / "hidden"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(
        "import shutil\n"
        "which = shutil.which\n"
        "shutil.which = lambda name, *a, **k: None if name == 'bwrap' else which(name, *a, **k)\n"
    )
    return directory


WITHOUT_NAMESPACES = """
import ctypes, os, sys
parent, child = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    if ctypes.CDLL(None).unshare(0x10000000) != 0:
        os._exit(77)
    os.write(child[1], b"x")
    os.read(parent[0], 1)
    os.setgid(0)
    os.setuid(0)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
os.read(child[0], 1)
for name in ("uid_map", "gid_map"):
    open(f"/proc/{pid}/{name}", "w").write("0 0 4294967295")
os.write(parent[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a host that forbids them")
def test_where_user_namespaces_are_forbidden_the_setting_is_named(home: Path) -> None:
    doctor = subprocess.run(
        [sys.executable, "-c", WITHOUT_NAMESPACES, "-m", "opensandbox_jupyter.cli", "doctor"],
        env=environment(home),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert doctor.returncode == 1, doctor.stderr
    assert "raise `sysctl user.max_user_namespaces`" in doctor.stdout


def test_doctor_is_content_here(home: Path) -> None:
    doctor = cli(home, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "isolation" in doctor.stdout


def test_only_loopback_is_served(home: Path) -> None:
    refused = cli(home, "serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "loopback" in refused.stderr


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    taken = find_server() or ensure_server()
    other = home / "other"
    other.mkdir()
    refused = cli(other, "serve", "--port", taken.url.rpartition(":")[2])
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert wait_until(lambda: find_server() == taken)
