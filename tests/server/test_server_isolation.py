"""Probes run inside a sandbox; where it means anything, the same probe succeeds outside."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from server_driving import Box, Running, create_box, start

PROBES = Path(__file__).with_name("isolation_probes.py")
KERNEL_FILES = {
    "core_pattern": "/proc/sys/kernel/core_pattern",
    "modprobe": "/proc/sys/kernel/modprobe",
    "sysrq": "/proc/sysrq-trigger",
    "hostname": "/proc/sys/kernel/hostname",
    "somaxconn": "/proc/sys/net/core/somaxconn",
    "namespaces": "/proc/sys/user/max_user_namespaces",
    "usr": "/usr/bin/env",
    "certificates": "/etc/ssl/certs/ca-certificates.crt",
}


@dataclass
class Report:
    inside: dict
    outside: dict
    box: Box


@pytest.fixture(scope="module", params=["own", "ordinary"])
def report(request: pytest.FixtureRequest, make_home: Callable[[int], Path]) -> Iterator[Report]:
    uid = os.geteuid() if request.param == "own" else 23_456
    home = make_home(uid)
    running = start(home, uid)
    (home / "canary").write_text("canary")
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as unix,
        running.client() as client,
    ):
        abstract.bind(f"\0osj-canary-{os.getpid()}")
        abstract.listen()
        unix.bind(str(home / "socket"))
        unix.listen()
        box, other = create_box(client), create_box(client)
        other.output("echo canary > /workspace/canary")
        task = task_of(running, port.getsockname()[1], other.id)
        inside = json.loads(box.output(command({**task, "inside": True})))
        outside = json.loads(
            subprocess.run(
                [sys.executable, "-I", PROBES, json.dumps({**task, "inside": False})],
                capture_output=True,
                check=True,
                env={"CANARY_OF_THE_USER": "canary-8c1f-environment", "KEY": running.key},
            ).stdout
        )
        yield Report(inside, outside, box)
    running.stop()


def task_of(running: Running, port: int, other: str) -> dict:
    data = running.home / "opensandbox/data"
    files = {
        "canary": running.home / "canary",
        "records": data / "records.sqlite",
        "runtime file": running.home / "opensandbox/run/server.json",
        "another sandbox": data / "sandboxes" / other / "root/workspace/canary",
    }
    return {
        "files": {name: str(path) for name, path in files.items()},
        "writes": KERNEL_FILES,
        "port": port,
        "abstract": f"@osj-canary-{os.getpid()}",
        "unix": str(running.home / "socket"),
        "mirrored needles": {
            "environment": "canary-8c1f-environment"[::-1],
            "key": running.key[::-1],
        },
    }


def command(task: dict) -> str:
    code = base64.b64encode(PROBES.read_bytes()).decode()
    argument = base64.b64encode(json.dumps(task).encode()).decode()
    return (
        f"echo {code} | base64 -d > /tmp/probes.py && "
        f'python3 -I /tmp/probes.py "$(echo {argument} | base64 -d)"'
    )


def test_every_namespace_is_its_own(report: Report) -> None:
    inside, outside = report.inside["namespaces"], report.outside["namespaces"]
    assert not set(inside.values()) & set(outside.values())


def test_host_processes_are_not_seen(report: Report) -> None:
    assert os.getpid() in report.outside["processes"]
    assert max(report.inside["processes"]) < 100


def test_secrets_show_nowhere(report: Report) -> None:
    assert report.outside["needles"] == ["environment", "key"]
    assert report.inside["needles"] == []


@pytest.mark.parametrize("name", ["canary", "records", "runtime file", "another sandbox"])
def test_host_files_are_not_there(report: Report, name: str) -> None:
    assert report.outside[f"read {name}"] == "done"
    assert report.inside[f"read {name}"] == "ENOENT"


def test_host_sockets_do_not_answer(report: Report) -> None:
    for name, error in (
        ("host port", "ECONNREFUSED"),
        ("abstract socket", "ECONNREFUSED"),
        ("unix socket", "ENOENT"),
    ):
        assert report.outside[name] == "done"
        assert report.inside[name] == error


def test_there_is_no_way_out(report: Report) -> None:
    assert report.inside["interfaces"] == ["lo"]
    assert report.inside["leave"] == "ENETUNREACH"


@pytest.mark.parametrize("name", list(KERNEL_FILES))
def test_kernel_and_host_files_cannot_be_written(report: Report, name: str) -> None:
    if os.access(KERNEL_FILES[name], os.W_OK) and name in {"core_pattern", "usr"}:
        assert report.outside[f"write {name}"] == "done"
    assert report.inside[f"write {name}"] in {"EROFS", "EACCES", "EPERM", "ENOENT"}


def test_privileges(report: Report) -> None:
    status = report.inside["status"]
    assert {int(value, 16) for key, value in status.items() if key.startswith("Cap")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert report.inside["core limit"] <= 1


def test_calls_are_refused(report: Report) -> None:
    absent = {"call io_uring_setup", "call userfaultfd", "call clone3"}
    for name, result in report.inside.items():
        if name.startswith("call "):
            assert result == ("ENOSYS" if name in absent else "EPERM"), name
    assert report.inside["clone user"] == report.inside["clone mount"] == "EPERM"
    assert report.inside.get("x32 getpid", "ENOSYS") == "ENOSYS"
    assert report.inside.get("x32 keyctl", "ENOSYS") == "ENOSYS"
    assert report.outside["clone user"] == "done"
    assert report.outside["call keyctl"] not in {"EPERM", "ENOSYS"}


def test_socket_families(report: Report) -> None:
    assert set(report.inside["families"]) <= {1, 2, 10, 16}
    assert {1, 2} <= set(report.inside["families"])
    assert report.inside["vsock, upper half set"] == "EAFNOSUPPORT"


def test_terminals_take_no_foreign_typing(report: Report) -> None:
    for name in ("TIOCSTI plain", "TIOCSTI high", "TIOCLINUX plain", "TIOCLINUX high"):
        assert report.inside[name] == "EPERM"
    assert report.outside["TIOCLINUX plain"] != "EPERM"


def test_execd_is_closed_to_what_it_runs(report: Report) -> None:
    for name in ("mem", "environ", "maps", "cwd/.", "root/."):
        assert report.inside[f"execd {name}"] in {"EACCES", "EPERM"}, name
    listed = {name: error for name, error in report.inside.items() if "execd descriptor" in name}
    assert set(listed.values()) == {"EACCES"}
    for name in ("code", "path", "program"):
        assert report.inside[f"execd {name}"] in {"EROFS", "EACCES"}, name
    mounts = [line.split() for line in report.box.output("cat /proc/self/mounts").splitlines()]
    ours = [options for _, target, _, options, *_ in mounts if target.startswith("/opt/opensa")]
    assert ours
    assert all(options.startswith("ro,") for options in ours)


def test_devices(report: Report) -> None:
    harmless = {
        "console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    }  # fmt: skip
    assert set(report.inside["devices"]) <= harmless
    assert report.inside["make device"] in {"EPERM", "EACCES"}


def test_the_host_user_is_an_ordinary_one(report: Report) -> None:
    _, _outside, size = report.box.output("cat /proc/self/uid_map").split()
    assert size == "1"
    owners = report.box.output("stat -c %u /usr/bin/env /proc/sys")
    assert "0" not in owners.split()


def test_descriptors_of_commands(report: Report) -> None:
    listing = report.box.output("ls /proc/self/fd")
    assert listing.split() == ["0", "1", "2", "3"]
