"""What stays and what goes when the server, or a part of a sandbox, dies."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from server_driving import (
    Box,
    assert_nothing_left,
    body,
    command_of,
    create_box,
    environment,
    processes_of,
    start,
    wait_until,
)

UIDS = [pytest.param(os.geteuid(), id="own"), pytest.param(23_456, id="ordinary")]


@pytest.mark.parametrize("uid", UIDS)
def test_after_a_kill_nothing_runs_and_a_new_server_goes_on(
    make_home: Callable[[int], Path], uid: int
) -> None:
    home = make_home(uid)
    first = start(home, uid)
    with first.client() as client:
        kept, short, paused = (create_box(client, metadata={"n": str(n)}) for n in range(3))
        kept.output("echo precious > /workspace/file; sleep 1000 > /dev/null 2>&1 &")
        soon = {"expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))}
        client.post(f"/v1/sandboxes/{short.id}/renew-expiration", json=soon)
        client.post(f"/v1/sandboxes/{paused.id}/pause")
    assert processes_of(home)

    first.kill()
    assert_nothing_left(home)
    time.sleep(2)
    second = start(home, uid)
    with second.client() as client:
        kept = Box(client, kept.info)
        assert kept.output("cat /workspace/file") == "precious"
        assert kept.now()["status"]["reason"] == "SERVER_RESTARTED"
        assert kept.now()["metadata"] == {"n": "0"}
        assert Box(client, paused.info).output("echo awake") == "awake"
        assert client.get(f"/v1/sandboxes/{short.id}").status_code == 404
        homes = {path.name for path in (home / "opensandbox/data/sandboxes").iterdir()}
        assert homes == {kept.id, paused.id}
    second.stop()
    assert_nothing_left(home)


@pytest.mark.parametrize("uid", UIDS)
def test_killed_while_creating(make_home: Callable[[int], Path], uid: int) -> None:
    home = make_home(uid)
    for _ in range(8):
        running = start(home, uid)
        with running.client() as client:
            client.timeout = httpx.Timeout(random.uniform(0.001, 0.2))
            with contextlib.suppress(httpx.TransportError):
                client.post("/v1/sandboxes", json=body())
        running.kill()
        assert_nothing_left(home)
    base = sqlite3.connect(home / "opensandbox/data/records.sqlite")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()

    last = start(home, uid)
    with last.client() as client:
        items = client.get("/v1/sandboxes").json()["items"]
        assert {item["status"]["state"] for item in items} <= {"Running"}
        homes = {path.name for path in (home / "opensandbox/data/sandboxes").iterdir()}
        assert homes == {item["id"] for item in items}
        assert create_box(client).output("echo works") == "works"
    last.stop()
    assert_nothing_left(home)


@pytest.mark.parametrize("which", ["outermost", "first inside", "execd"])
def test_a_part_of_a_sandbox_dies(make_home: Callable[[int], Path], which: str) -> None:
    home = make_home(os.geteuid())
    running = start(home)
    with running.client() as client:
        box, other = create_box(client), create_box(client)
        mine = [
            process
            for process in processes_of(home)
            if box.id in Path(f"/proc/{process.pid}/mountinfo").read_text()
        ]
        (execd,) = (process for process in mine if process.name() == "execd")
        (holder,) = (process for process in mine if process.name() == "sandbox")
        first = holder.parent()
        assert first is not None
        outermost = first
        while (parent := outermost.parent()) is not None and parent.pid != running.process.pid:
            outermost = parent
        {"outermost": outermost, "first inside": first, "execd": execd}[which].kill()

        assert wait_until(lambda: box.now()["status"]["state"] == "Failed", 5)
        assert wait_until(lambda: not any(psutil.pid_exists(process.pid) for process in mine))
        assert box.now()["status"]["message"]
        assert other.output("echo fine") == "fine"
        assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    running.stop()
    assert_nothing_left(home)


def test_links_left_in_the_layer_lead_nowhere(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    outside = home / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    first = start(home)
    with first.client() as client:
        box = create_box(client)
        box.output(f"mv /opt /was-opt && ln -s {outside} /opt && ln -s {outside} /etc/fonts.d")
        box.output(f"mkdir /new-etc; mv /etc /was-etc; ln -s /oldroot{outside} /etc")
    first.kill()
    second = start(home)
    with second.client() as client:
        assert Box(client, box.info).output("echo started") == "started"
    second.stop()
    assert list(outside.iterdir()) == []


def test_two_servers_never_share_a_directory(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    first = start(home)
    command, variables = command_of(os.geteuid())
    second = subprocess.run(
        [*command, "serve", "--port", "0"],
        env={**environment(home), **variables},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"process {first.process.pid}" in second.stderr
    first.stop()


def test_many_lives_leave_no_descriptor(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    running = start(home)
    server = psutil.Process(running.process.pid)
    with running.client() as client:

        def live() -> None:
            box = create_box(client)
            box.output("true")
            client.delete(f"/v1/sandboxes/{box.id}")

        def rests() -> bool:
            return not list((home / "opensandbox/data/trash").iterdir())

        live()
        assert wait_until(rests)
        before = server.num_fds(), len(server.children(recursive=True))
        for _ in range(8):
            live()
        assert wait_until(rests)
        assert wait_until(lambda: len(server.children(recursive=True)) <= before[1])
        assert wait_until(lambda: server.num_fds() <= before[0]), (server.num_fds(), before)
    running.stop()
