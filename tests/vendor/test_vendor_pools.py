"""Pools: the vendor's on our server, a program that moves over, and one Redis for both SDKs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from opensandbox_jupyter.local import ensure_server
from opensandbox_jupyter.pool import PoolDestroyState
from opensandbox_jupyter.pool_redis import RedisPoolStateStore

HERE = Path(__file__).resolve().parent
VENDOR = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a Redis of this test's own."""
    folder = tmp_path_factory.mktemp("r")
    path = str(folder / "s")
    command = ["redis-server", "--port", "0", "--save", "", "--unixsocket", path, "--dir", folder]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert any("ready to accept" in line.lower() for line in server.stdout)
    yield path
    server.terminate()
    server.wait()
    server.stdout.close()


def run(python: Path | str, script: Path, *arguments: str) -> str:
    assert VENDOR.exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
    }
    command = [str(python), str(script), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_vendors_pools_work_on_our_server(socket: str) -> None:
    assert run(VENDOR, HERE / "pool_scenario.py", socket) == "done"


def test_a_program_with_pools_moves_over_by_changing_its_imports(
    socket: str, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.py"
    source = (HERE / "pool_scenario.py").read_text(encoding="utf-8")
    moved.write_text(source.replace("from opensandbox", "from opensandbox_jupyter"), "utf-8")
    assert run(sys.executable, moved, socket) == "done"


def test_both_sdks_share_a_pool_on_one_redis(socket: str) -> None:
    script, name = HERE / "pool_store_scenario.py", "böxes / 1"
    with redis.Redis(unix_socket_path=socket) as client:
        ours = RedisPoolStateStore(client)
        assert run(VENDOR, script, socket, "put") == "done"

        assert [e.sandbox_id for e in ours.snapshot_idle_entries(name)] == ["one", "two", "three"]
        assert ours.get_max_idle(name) == 5
        assert not ours.try_acquire_primary_lock(name, "ours", HOUR)
        assert ours.try_take_idle_min_ttl(name, timedelta(minutes=1)).sandbox_id == "one"
        ours.release_primary_lock(name, "vendor")
        assert ours.try_acquire_primary_lock(name, "ours", HOUR)
        ours.put_idle(name, "four")
        ours.set_max_idle(name, 2)

        assert json.loads(run(VENDOR, script, socket, "look")) == {
            "idle": ["two", "three", "four"],
            "max_idle": 2,
            "lock": False,
            "taken": "two",
        }
        ours.begin_destroy(name, "ours")
        assert run(VENDOR, script, socket, "late") == "DESTROYING"
        ours.mark_destroyed(name, "ours", None)
        assert run(VENDOR, script, socket, "late") == "DESTROYED"
        assert ours.get_destroy_state(name) is PoolDestroyState.DESTROYED
