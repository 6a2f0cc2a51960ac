"""What a sandbox does at its worst: the host stays well, and other sandboxes are not disturbed."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from server_driving import Box, Running, assert_nothing_left, create_box, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MEMORY = 512 << 20


@dataclass
class Yard:
    """A server with a sandbox that minds its own business, and one more for each test."""

    running: Running
    client: httpx.Client
    neighbour: Box
    villain: Box

    @property
    def counts_memory(self) -> bool:
        """Whether the memory of a sandbox is counted as a whole, which only root can here."""
        return self.running.uid == 0

    def port_of_neighbour(self) -> int:
        """Return the port of the host that leads to the neighbour's execd."""
        answer = self.client.get(f"/v1/sandboxes/{self.neighbour.id}/endpoints/44772")
        return int(answer.json()["endpoint"].partition("/")[0].rpartition(":")[2])

    def is_well(self) -> None:
        """Fail unless the server, the neighbour and a new sandbox do what they should."""
        assert psutil.Process(self.running.process.pid).is_running()
        assert self.neighbour.output("echo fine") == "fine"
        fresh = create_box(self.client)
        assert fresh.output("cat /workspace/* 2>/dev/null; echo new") == "new"
        assert self.client.delete(f"/v1/sandboxes/{fresh.id}").status_code == 204

    def remove_villain(self) -> None:
        """Delete the sandbox: however it looks by now, nothing of it is left."""
        answer = self.client.delete(f"/v1/sandboxes/{self.villain.id}", timeout=60)
        assert answer.status_code == 204
        assert not (self.running.home / "opensandbox/data/sandboxes" / self.villain.id).exists()


@pytest.fixture(scope="module", params=["own", "ordinary"])
def running(
    request: pytest.FixtureRequest, make_home: Callable[[int], Path]
) -> Iterator[tuple[Running, httpx.Client, Box]]:
    uid = os.geteuid() if request.param == "own" else 23_456
    server = start(make_home(uid), uid, "--spares", "0")
    with server.client() as client:
        yield server, client, create_box(client)
    server.stop()
    assert_nothing_left(server.home)


@pytest.fixture
def yard(running: tuple[Running, httpx.Client, Box]) -> Iterator[Yard]:
    found = Yard(*running, create_box(running[1]))
    yield found
    found.is_well()
    with contextlib.suppress(AssertionError):
        found.remove_villain()


def test_a_fork_bomb(yard: Yard) -> None:
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 5"
    with yard.villain.execd() as execd, contextlib.suppress(httpx.HTTPError):
        execd.post("/command", json={"command": bomb, "timeout": 8000}, timeout=20)
    yard.is_well()
    assert len(psutil.pids()) < 10_000
    yard.remove_villain()


HOGS = {
    "one process": "x = bytearray(4 << 30); x[::4096] = b'x' * len(x[::4096])",
    "many processes": (
        "import os, time\n"
        "for _ in range(16):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(128 << 20); x[::4096] = b'x' * len(x[::4096])\n"
        "        time.sleep(3); os._exit(0)\n"
        "failed = [os.wait()[1] for _ in range(16)]\n"
        "raise SystemExit(any(failed))"
    ),
    "files in memory": (
        "import os\n"
        "f = os.memfd_create('x')\n"
        "for _ in range(4096): os.write(f, bytes(1 << 20))"
    ),
    "shared memory": (
        "with open('/dev/shm/x', 'wb') as f:\n    for _ in range(4096): f.write(bytes(1 << 20))"
    ),
}  # fmt: skip


@pytest.mark.parametrize("hog", list(HOGS))
def test_a_memory_hog(yard: Yard, hog: str) -> None:
    if hog in {"many processes", "files in memory"} and not yard.counts_memory:
        pytest.skip("an ordinary user's limits are for each process: `doctor` says so")
    before = psutil.virtual_memory().available
    yard.villain.output(f"cat > /tmp/hog.py <<'END'\n{HOGS[hog]}\nEND")
    code, _, _ = yard.villain.run("python3 /tmp/hog.py")
    assert code != 0
    assert before - psutil.virtual_memory().available < 2 * MEMORY
    yard.is_well()


def test_endless_output_is_only_as_fast_as_it_is_read(yard: Yard) -> None:
    command = {"command": "yes $(seq 2000)"}
    with yard.villain.execd() as execd, execd.stream("POST", "/command", json=command) as answer:
        size = 0
        for block in answer.iter_bytes():
            size += len(block)
            if size > 300 << 20:
                break
        time.sleep(1)
        yard.is_well()
    server = psutil.Process(yard.running.process.pid)
    assert server.memory_info().rss < 200 << 20
    yard.remove_villain()


def test_a_hundred_thousand_files_and_a_deep_tree(yard: Yard) -> None:
    yard.villain.output(
        "cd /workspace && mkdir many && cd many && seq 100000 | xargs touch && mkdir locked && "
        "touch locked/in && chmod 000 locked"
    )
    yard.villain.output(
        "cat > /tmp/deep.py <<'END'\n"
        "import os\n"
        "for _ in range(10_000):\n"
        "    os.mkdir('d'); os.chdir('d')\n"
        "END\ncd /workspace && python3 /tmp/deep.py"
    )
    with yard.villain.execd() as execd:
        listed = execd.get("/directories/list", params={"path": "/workspace/many"}).json()
    assert len(listed) == 100_001
    yard.remove_villain()


def test_links_to_everything(yard: Yard) -> None:
    canary = yard.running.home / "canary"
    canary.write_text("of the host")
    targets = [
        str(canary), "/proc/1/root" + str(canary), "/proc/1/environ", "/proc/1/cwd",
        f"/proc/self/root{canary}", "/dev/mem", "/proc/kcore", "/etc/shadow", "/",
    ]  # fmt: skip
    for number, target in enumerate(targets):
        yard.villain.run(f"ln -s {target} /workspace/link{number}")
        yard.villain.run(f"ln {target} /workspace/hard{number}")
    assert yard.villain.run("ln /usr/bin/env /workspace/env")[0] != 0
    with yard.villain.execd() as execd:
        for number in range(len(targets)):
            answer = execd.get("/files/download", params={"path": f"/workspace/link{number}"})
            assert b"of the host" not in answer.content
            assert yard.running.key.encode() not in answer.content
            answer = execd.get("/files/download", params={"path": f"/workspace/hard{number}"})
            assert answer.status_code >= 400
    yard.remove_villain()
    assert canary.read_text() == "of the host"
    canary.unlink()


@pytest.mark.parametrize(
    "command",
    [
        "echo -1000 > /proc/self/oom_score_adj",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo c > /proc/sysrq-trigger",
        "echo x > /proc/sys/kernel/hostname",
        "mkdir /sys/fs/cgroup/mine",
        "echo 0 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
        "mount -t tmpfs none /mnt",
        "mount --bind / /mnt",
        "unshare -U true",
        "unshare -m true",
        "chroot / true",
        "nsenter -t 1 -m true",
        "mknod /tmp/sda b 8 0",
        "python3 -c 'import socket; socket.socket(17, 3)'",
        "python3 -c 'import socket; socket.socket(2, 3, 1)'",
        "python3 -c 'import os; os.setuid(1000)'",
        "python3 -c 'import os; os.chown(\"/tmp\", 5, 5)'",
        "ip link add x type dummy",
        "python3 -c 'import resource as r; r.setrlimit(r.RLIMIT_NPROC, (1 << 20, 1 << 20))'",
    ],
)
def test_tricks_that_fail(yard: Yard, command: str) -> None:
    assert yard.villain.run(command)[0] not in {0, None}


def test_signals_to_the_first_process_do_nothing(yard: Yard) -> None:
    yard.villain.run("kill -9 1; kill -TERM 1; kill -STOP 1")
    assert yard.villain.output("echo alive") == "alive"


def test_a_thousand_orphans_are_reaped(yard: Yard) -> None:
    yard.villain.output("for n in $(seq 1000); do (sleep 0.2 &); done; sleep 0.5")
    zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true"
    assert wait_until(lambda: yard.villain.output(zombies) == "0")


def test_a_sandbox_that_kills_all_of_itself_says_so(yard: Yard) -> None:
    with contextlib.suppress(httpx.HTTPError):
        yard.villain.run("kill -9 -1; sleep 1")
    assert wait_until(lambda: yard.villain.now()["status"]["state"] == "Failed", 10)
    assert yard.villain.now()["status"]["message"]
    yard.is_well()
    yard.remove_villain()


def test_nobody_listens_to_it(yard: Yard) -> None:
    """The server, a Jupyter of the host, other sandboxes and the cloud's metadata."""
    with socket.create_server(("127.0.0.1", 0)) as jupyter:
        ports = {
            "server": int(yard.running.url.rpartition(":")[2]),
            "jupyter": jupyter.getsockname()[1],
            "neighbour": yard.port_of_neighbour(),
        }
        for name, port in ports.items():
            assert socket.create_connection(("127.0.0.1", port), 5).close() is None, name
            direct = (
                f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'"
            )
            assert yard.villain.run(direct)[0] == 1, name
            proxied = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/"
            assert yard.villain.run(f"NO_PROXY= no_proxy= {proxied}")[1] == "403", name
    for address in (
        "169.254.169.254",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "100.100.100.200",
    ):
        asked = f"curl -s -m 20 -o /dev/null -w '%{{http_code}}' http://{address}/latest/meta-data/"
        assert yard.villain.run(asked)[1] in {"403", "502"}, address
    assert yard.villain.run("timeout 5 bash -c 'echo > /dev/tcp/169.254.169.254/80'")[0] == 1
