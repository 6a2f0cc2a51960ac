"""The ready sandbox that a create claims."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
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

UIDS = [pytest.param(os.geteuid(), id="own"), pytest.param(23_456, id="ordinary")]


def spares_of(running: Running) -> set[str]:
    """Return the ids of the sandboxes that have a running execd and are in no list."""
    homes = (running.home / "opensandbox/data/sandboxes").iterdir()
    with running.client() as client:
        listed = {item["id"] for item in client.get("/v1/sandboxes").json()["items"]}
    sockets = {path.name for path in (running.home / "opensandbox/run/sockets").iterdir()}
    return {path.name for path in homes} & sockets - listed


def ready(running: Running) -> str:
    """Wait for the spare and return its id."""

    def answers() -> bool:
        names = [process.name() for process in processes_of(running.home)]
        # What holds the walls is started last, when its execd is the only process of that name.
        return len(spares_of(running)) == 1 and "sandbox" in names

    assert wait_until(answers, 20)
    (found,) = spares_of(running)
    return found


@pytest.mark.parametrize("uid", UIDS)
def test_a_create_claims_the_spare(make_home: Callable[[int], Path], uid: int) -> None:
    running = start(make_home(uid), uid, "--spares", "1")
    spare = ready(running)
    with running.client() as client:
        assert client.get(f"/v1/sandboxes/{spare}").status_code == 404
        box = create_box(
            client,
            env={"GREETING": "hello"},
            metadata={"team": "red"},
            entrypoint=["sh", "-c", "echo $GREETING > /workspace/made; exec sleep 1000"],
            resourceLimits={"cpu": "0.5", "memory": "256Mi"},
        )
        assert box.id == spare
        assert box.now()["metadata"] == {"team": "red"}
        assert box.output("echo $GREETING $OPENSANDBOX_ID; cat /etc/hostname") == (
            f"hello {spare}\n{spare[:8]}"
        )
        assert wait_until(lambda: box.run("cat /workspace/made")[1] == "hello\n")
        with box.execd() as execd:
            assert execd.get("/metrics").json()["mem_total_mib"] == 256
            assert execd.post("/internal/init", json={"env": {}, "cpu_count": 9}).status_code == 409
        assert box.run("python3 -c 'b = bytearray(600 << 20)'")[0] not in {0, None}

        other = ready(running)
        assert other != box.id
        assert Box(client, create_box(client).info).id == other
    running.stop()
    assert_nothing_left(running.home)
    left = {path.name for path in (running.home / "opensandbox/data/sandboxes").iterdir()}
    assert left == {box.id, other}


@pytest.mark.parametrize("uid", UIDS)
def test_after_a_kill_the_spare_is_gone(make_home: Callable[[int], Path], uid: int) -> None:
    home = make_home(uid)
    first = start(home, uid, "--spares", "1")
    spare = ready(first)
    first.kill()
    assert_nothing_left(home)
    second = start(home, uid)
    assert not list((home / "opensandbox/data/sandboxes").iterdir())
    with second.client() as client:
        assert client.get(f"/v1/sandboxes/{spare}").status_code == 404
    second.stop()


def test_creates_at_once_never_share_a_spare(make_home: Callable[[int], Path]) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "1")
    with running.client() as client:
        with ThreadPoolExecutor(6) as pool:
            boxes = list(pool.map(lambda n: create_box(client, env={"N": str(n)}), range(6)))
        assert len({box.id for box in boxes}) == 6
        assert [box.output("echo $N") for box in boxes] == [str(n) for n in range(6)]
        homes = running.home / "opensandbox/data/sandboxes"
        owners = {(homes / box.id / "root").stat().st_uid for box in boxes}
        assert len(owners) == (6 if os.geteuid() == 0 else 1)
    running.stop()
    assert_nothing_left(running.home)


def test_a_spare_that_dies_is_not_given_away(make_home: Callable[[int], Path]) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "1")
    spare = ready(running)
    for process in processes_of(running.home):
        if process.name() == "execd":
            psutil.Process(process.pid).kill()
    with running.client() as client:
        box = create_box(client)
        assert box.id != spare
        assert box.output("echo fine") == "fine"
    assert not (running.home / "opensandbox/data/sandboxes" / spare).exists()
    running.stop()


def test_a_spare_keeps_no_server_awake(make_home: Callable[[int], Path]) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "1", "--idle-shutdown", "0.02")
    assert running.process.wait(30) == 0
    assert_nothing_left(running.home)
    assert not list((running.home / "opensandbox/data/sandboxes").iterdir())


def test_a_refused_create_leaves_the_spare(make_home: Callable[[int], Path]) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "1")
    spare = ready(running)
    with running.client() as client:
        refused: httpx.Response = client.post("/v1/sandboxes", json=body(entrypoint=[]))
        assert refused.status_code == 400
        assert create_box(client).id == spare
    running.stop()


@pytest.mark.parametrize("uid", UIDS)
def test_killed_while_a_spare_is_made_or_claimed(
    make_home: Callable[[int], Path], uid: int
) -> None:
    home = make_home(uid)
    for number in range(8):
        running = start(home, uid, "--spares", "1")
        with running.client() as client, contextlib.suppress(httpx.TransportError):
            client.timeout = httpx.Timeout(random.uniform(0.001, 0.4))
            if number % 2:
                client.post("/v1/sandboxes", json=body())
            else:
                time.sleep(random.uniform(0, 0.4))
        running.kill()
        assert_nothing_left(home)
    last = start(home, uid)
    with last.client() as client:
        items = client.get("/v1/sandboxes").json()["items"]
        assert {item["status"]["state"] for item in items} <= {"Running"}
        homes = {path.name for path in (home / "opensandbox/data/sandboxes").iterdir()}
        assert homes == {item["id"] for item in items}
    last.stop()
    assert_nothing_left(home)
