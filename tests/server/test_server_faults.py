"""A hundred sudden deaths, a full disk, a clock that jumps, a machine that was switched off."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import server_driving
from server_driving import (
    Box,
    Running,
    assert_nothing_left,
    body,
    create_box,
    processes_of,
    start,
    wait_until,
)

from opensandbox_jupyter.server.disk import DISK_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROUNDS = 100
MOST_BOXES = 4


@dataclass
class Ledger:
    """What the server has promised: sandboxes that it made, files that it took."""

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Sandboxes that somebody has asked to end; they may or may not be there."""


class Bustle(threading.Thread):
    """Somebody who uses the server until told to stop, and writes down what was promised."""

    def __init__(self, running: Running, ledger: Ledger, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._running, self._ledger, self._dice = running, ledger, dice
        self._over = threading.Event()

    def run(self) -> None:
        with self._running.client() as client:
            while not self._over.is_set():
                with contextlib.suppress(httpx.HTTPError, KeyError, AssertionError, ValueError):
                    self._dice.choice([self.make, self.write, self.write, self.look, self.end])(
                        client
                    )

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive()

    def make(self, client: httpx.Client) -> None:
        if len(self._ledger.files) >= MOST_BOXES:
            return
        answer = client.post("/v1/sandboxes", json=body())
        if answer.status_code == 202:
            self._ledger.files[answer.json()["id"]] = {}

    def some(self, client: httpx.Client) -> Box:
        found = self._dice.choice(sorted(self._ledger.files))
        return Box(client, {"id": found})

    def write(self, client: httpx.Client) -> None:
        if not self._ledger.files:
            return
        box, name = self.some(client), f"/workspace/{self._dice.randrange(1000)}"
        files = self._ledger.files[box.id]
        files.pop(name, None)
        text = "x" * self._dice.randrange(1, 100_000)
        if box.run(f"head -c {len(text)} /dev/zero | tr '\\0' x > {name}")[0] == 0:
            files[name] = text

    def look(self, client: httpx.Client) -> None:
        client.get("/v1/sandboxes")

    def end(self, client: httpx.Client) -> None:
        if len(self._ledger.files) < MOST_BOXES:
            return
        box = self.some(client)
        del self._ledger.files[box.id]
        self._ledger.ended.add(box.id)
        client.delete(f"/v1/sandboxes/{box.id}")


def victims(running: Running) -> list[psutil.Process]:
    """Return the processes of all sandboxes, the outermost and execd included."""
    found = []
    for child in psutil.Process(running.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def known(client: httpx.Client) -> set[str]:
    """Return the ids of all sandboxes that the server knows."""
    return {one["id"] for one in client.get("/v1/sandboxes?pageSize=200").json()["items"]}


def state(box: Box) -> str:
    return box.now()["status"]["state"]


def answers(box: Box) -> bool:
    with contextlib.suppress(httpx.HTTPError, KeyError):
        return box.output("echo here") == "here"
    return False


def assert_truthful(running: Running, ledger: Ledger) -> None:
    """Every promise is kept or honestly broken, and nothing is there that nobody knows of."""
    with running.client() as client:
        listed = {
            one["id"]: one for one in client.get("/v1/sandboxes?pageSize=200").json()["items"]
        }
        for sandbox_id, files in list(ledger.files.items()):
            assert sandbox_id in listed, "a sandbox was lost"
            box = Box(client, {"id": sandbox_id})
            assert wait_until(lambda box=box: state(box) == "Failed" or answers(box))
            status = box.now()["status"]
            if status["state"] == "Running":
                for name, text in files.items():
                    assert box.output(f"wc -c < {name}") == str(len(text)), "a file was lost"
            else:
                assert status["state"] == "Failed", status
                assert status["message"]
                client.delete(f"/v1/sandboxes/{sandbox_id}")
                del ledger.files[sandbox_id]
        for sandbox_id in listed - ledger.files.keys():
            # made or being ended when its request was cut off
            assert client.delete(f"/v1/sandboxes/{sandbox_id}").status_code in {204, 404}
        kept = known(client)
    homes = running.home / "opensandbox/data/sandboxes"
    assert wait_until(lambda: {path.name for path in homes.iterdir()} == kept), kept


def test_a_hundred_sudden_deaths(make_home: Callable[[int], Path]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice, ledger, home = random.Random(seed), Ledger(), make_home(os.geteuid())
    running = start(home, None, "--spares", "0")
    for number in range(ROUNDS):
        bustle = Bustle(running, ledger, random.Random(dice.random()))
        bustle.start()
        time.sleep(dice.uniform(0.0, 0.6))
        if number % 3 == 0:
            running.kill()
            bustle.stop()
            assert_nothing_left(home)
            running = start(home, None, "--spares", "0")
        else:
            candidates = victims(running)
            if candidates:
                with contextlib.suppress(psutil.Error):
                    dice.choice(candidates).kill()
            bustle.stop()
            time.sleep(0.1)
        assert_truthful(running, ledger)
    running.stop()
    assert_nothing_left(home)
    base = sqlite3.connect(home / "opensandbox/data/records.sqlite")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()


def test_after_a_reboot(make_home: Callable[[int], Path]) -> None:
    """The directory of what runs is gone, that of the data is there."""
    home = make_home(os.geteuid())
    first = start(home)
    with first.client() as client:
        box = create_box(client)
        box.output("echo precious > /workspace/file")
    first.kill()
    assert_nothing_left(home)
    shutil.rmtree(home / "opensandbox/run")
    second = start(home)
    with second.client() as client:
        assert Box(client, box.info).output("cat /workspace/file") == "precious"
    second.stop()


@pytest.fixture
def small_disk(make_home: Callable[[int], Path]) -> Iterator[Path]:
    home = make_home(os.geteuid())
    data = home / "opensandbox/data"
    data.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=755", "osj-test", str(data)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield home
    subprocess.run(["umount", "-l", str(data)], check=True)


def test_a_full_disk_is_told_and_recovered_from(small_disk: Path) -> None:
    running = start(small_disk, None, "--spares", "0")
    with running.client() as client:
        box, hog = create_box(client), create_box(client)
        box.output("echo precious > /workspace/file")
        code, _, said = hog.run("head -c 300000000 /dev/zero > /workspace/big")
        assert code == 1
        assert "No space left" in said
        with box.execd() as execd:
            meta = ("metadata", ("m", b'{"path": "/workspace/up"}', "application/json"))
            part = ("file", ("f", b"x" * 100_000))
            answer = execd.post("/files/upload", files=[meta, part])
            assert (answer.status_code, answer.json()["code"]) == (507, "RUNTIME_ERROR")
        answer = client.post("/v1/sandboxes", json=body())
        assert answer.status_code in {202, 500, 503, 507}, answer.text
        if answer.status_code != 202:
            assert answer.json()["message"]
        assert box.output("cat /workspace/file") == "precious"
        assert client.get("/v1/sandboxes").status_code == 200

        assert wait_until(lambda: hog.now()["status"]["state"] == "Paused")
        assert hog.now()["status"]["reason"] == "DISK_FULL"
        assert client.post(f"/v1/sandboxes/{hog.id}/resume").status_code == 202
        assert hog.output("rm /workspace/big; echo cleaned") == "cleaned"
        assert hog.run("head -c 300000000 /dev/zero > /workspace/big")[0] == 1
        assert client.delete(f"/v1/sandboxes/{hog.id}").status_code == 204
        assert box.output("cat /workspace/file") == "precious"
        assert create_box(client).output("echo room again > x; cat x") == "room again"
    running.stop()
    assert_nothing_left(small_disk)


def test_an_idle_sandbox_is_not_taken_for_the_one_that_fills_the_disk(small_disk: Path) -> None:
    running = start(small_disk, None, "--spares", "0")
    with running.client() as client:
        idle, writer = create_box(client), create_box(client)
        idle.output("head -c 55000000 /dev/zero > /workspace/old")
        time.sleep(4 * DISK_SECONDS)
        assert writer.run("head -c 300000000 /dev/zero > /workspace/big")[0] == 1
        assert wait_until(lambda: writer.now()["status"]["state"] == "Paused")
        time.sleep(2 * DISK_SECONDS)
        assert idle.output("echo fine") == "fine"
    running.stop()


def clock_faker() -> str | None:
    """Return the library that gives a program another clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""The faker breaks ``time.sleep`` where it leaves the monotonic clock alone."""


@pytest.mark.skipif(clock_faker() is None, reason="the package faketime is not installed")
@pytest.mark.parametrize("jump", ["-1d", "+1d"])
def test_a_clock_that_jumps_ends_nothing_early_or_late(
    make_home: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, jump: str
) -> None:
    home = make_home(os.geteuid())
    moment = home / "moment"
    moment.write_text("+0")
    (home / "sitecustomize.py").write_text(SLEEP)
    fake = {
        "PYTHONPATH": f"{home}:{server_driving.PACKAGE}",
        "LD_PRELOAD": str(clock_faker()),
        "FAKETIME_TIMESTAMP_FILE": str(moment),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    plain = server_driving.environment
    monkeypatch.setattr(server_driving, "environment", lambda at, uid: plain(at, uid) | fake)
    running = start(home, None, "--spares", "0")
    with running.client() as client:
        short, long = create_box(client, timeout=600), create_box(client, timeout=600)
        soon = {"expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))}
        client.post(f"/v1/sandboxes/{short.id}/renew-expiration", json=soon)
        moment.write_text(jump)
        assert wait_until(lambda: client.get(f"/v1/sandboxes/{short.id}").status_code == 404, 15)
        assert long.output("echo fine") == "fine"
        assert create_box(client, timeout=60).output("echo fine") == "fine"
    running.stop()
    assert_nothing_left(home)


def test_a_sandbox_over_its_own_limit_is_paused(make_home: Callable[[int], Path]) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "0")
    with running.client() as client:
        limits = {"cpu": "1", "memory": "256Mi", "disk": "50M"}
        small, other = create_box(client, resourceLimits=limits), create_box(client)
        small.output("head -c 40000000 /dev/zero > /workspace/file")
        other.output("head -c 80000000 /dev/zero > /workspace/file")
        time.sleep(3)
        assert small.output("head -c 20000000 /dev/zero > /workspace/more; echo done") == "done"
        assert wait_until(lambda: small.now()["status"]["state"] == "Paused")
        assert "50000000 bytes" in small.now()["status"]["message"]
        assert other.output("echo fine") == "fine"
    running.stop()


def test_signals_that_end_a_server_end_its_sandboxes(make_home: Callable[[int], Path]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        home = make_home(os.geteuid())
        running = start(home)
        with running.client() as client:
            create_box(client).run("sleep 1000 > /dev/null 2>&1 & echo")
        running.process.send_signal(number)
        assert running.process.wait(20) == 0
        assert_nothing_left(home)
        assert not processes_of(home)
