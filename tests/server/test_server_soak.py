"""A long day: thousands of commands, hundreds of sandboxes, and nothing that is left of them.

``make soak`` runs it in full (``SOAK=1``): 10,000 commands, 1,000 sandboxes, 200 streams at once;
``make test-slow`` a tenth of it, the streams apart.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from server_driving import Running, wait_until

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, Sandbox, SandboxSync

SHARE = float(os.environ.get("SOAK", "0.1"))
COMMANDS = int(5_000 * SHARE)  # in each colour
SANDBOXES = int(500 * SHARE)
STREAMS = 200  # in each colour, all at once
AT_ONCE = 8
MIB = 1 << 20
MORE = {"threads of the server": 32}
"""Its pool of threads fills up, to a bound."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Held:
    """What this process, the server and its sandboxes hold."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self.ids: list[str] = []
        self._before = self.counts()
        self._memory = self.memory()

    def counts(self) -> dict[str, int]:
        """Return how many descriptors, threads and processes there are."""
        gc.collect()
        ours, theirs = psutil.Process(), psutil.Process(self._server.process.pid)
        return {
            "descriptors here": ours.num_fds(),
            "threads here": threading.active_count(),
            "descriptors of the server": theirs.num_fds(),
            "threads of the server": theirs.num_threads(),
            "processes of the server": len(theirs.children(recursive=True)),
        }

    def memory(self) -> tuple[int, int]:
        """Return the memory of this process and of the server, in MiB."""
        pids = os.getpid(), self._server.process.pid
        here, there = (psutil.Process(pid).memory_info().rss // MIB for pid in pids)
        return here, there

    def assert_nothing_more(self) -> None:
        """Expect what there was at the beginning, and memory that is as flat."""
        more: dict[str, int] = {}

        def same() -> bool:
            now = self.counts()
            more.clear()
            more.update((name, now[name] - was) for name, was in self._before.items())
            return all(number <= MORE.get(name, 0) for name, number in more.items())

        assert wait_until(same, 60), more
        grown = [now - was for now, was in zip(self.memory(), self._memory, strict=True)]
        print(f"memory before {self._memory}, now {self.memory()} MiB; more: {more}")
        assert max(grown) < 48, grown
        assert set(self.left()) == set()

    def left(self) -> Iterator[Path]:
        """Give every directory and control group of a sandbox that is no more."""
        gone = set(self.ids)
        for top in (self._server.home, Path("/sys/fs/cgroup")):
            for folder, names, _ in os.walk(top):
                yield from (Path(folder, name) for name in names if any(i in name for i in gone))


@pytest.fixture
def held(server: Running) -> Held:
    """What there is once everything has been used once."""
    with SandboxSync.create("base", connection_config=config(server, ConnectionConfigSync)) as box:
        box.commands.run("true")
        box.kill()
    asyncio.run(live(config(server, ConnectionConfig), []))
    return Held(server)


def config(server: Running, kind: Any) -> Any:
    return kind(domain=server.url, api_key=server.key)


async def live(reached: ConnectionConfig, ids: list[str]) -> None:
    sandbox = await Sandbox.create("base", connection_config=reached)
    ids.append(sandbox.id)
    assert (await sandbox.commands.run("echo $((6 * 7))")).text == "42"
    await sandbox.destroy()


def live_blocking(reached: ConnectionConfigSync, ids: list[str]) -> None:
    sandbox = SandboxSync.create("base", connection_config=reached)
    ids.append(sandbox.id)
    assert sandbox.commands.run("echo $((6 * 7))").text == "42"
    sandbox.destroy()


async def many(reached: ConnectionConfig, ids: list[str]) -> None:
    """Run commands, open streams, then live through sandboxes, each of them side by side."""
    free = asyncio.Semaphore(AT_ONCE)
    sandbox = await Sandbox.create("base", connection_config=reached)
    ids.append(sandbox.id)

    async def command(number: int) -> None:
        async with free:
            assert (await sandbox.commands.run(f"echo {number}")).text == str(number)

    async def life() -> None:
        async with free:
            await live(reached, ids)

    async def stream() -> int:
        command = "for i in 1 2 3 4 5; do echo $i; sleep 1; done"
        return len((await sandbox.commands.run(command)).stdout)

    await asyncio.gather(*map(command, range(COMMANDS)))
    assert set(await asyncio.gather(*(stream() for _ in range(STREAMS)))) == {10}
    await asyncio.gather(*(life() for _ in range(SANDBOXES)))
    await sandbox.destroy()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def many_blocking(reached: ConnectionConfigSync, ids: list[str]) -> None:
    sandbox = SandboxSync.create("base", connection_config=reached)
    ids.append(sandbox.id)

    def command(number: int) -> None:
        assert sandbox.commands.run(f"echo {number}").text == str(number)

    def stream(_: int) -> int:
        command = "for i in 1 2 3 4 5; do echo $i; sleep 1; done"
        return len(sandbox.commands.run(command).stdout)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(command, range(COMMANDS)))
    with ThreadPoolExecutor(STREAMS) as threads:
        assert set(threads.map(stream, range(STREAMS))) == {10}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda _: live_blocking(reached, ids), range(SANDBOXES)))
    sandbox.destroy()


def test_a_long_day_leaves_nothing_behind(server: Running, held: Held) -> None:
    asyncio.run(many(config(server, ConnectionConfig), held.ids))
    many_blocking(config(server, ConnectionConfigSync), held.ids)

    assert len(held.ids) == 2 * (SANDBOXES + 1)
    held.assert_nothing_more()
