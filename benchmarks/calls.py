"""Times the calls of one SDK, ours or the vendor's, and prints the figures as JSON.

``python calls.py MODULE PORT``: MODULE is ``opensandbox`` or ``opensandbox_jupyter``. The names are
the same in both, so this is one program.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from statistics import median

ROUNDS = 3
CALLS = 300
CREATES = 20
LATE = {
    "late-500": "500 until then",
    "late-503": "503 until then",
    "late-refused": "refused until then",
}


Cost = list[float]


def blocking(call: Callable[[], object], count: int, each: int = 1) -> Cost:
    """Return the median seconds of a call, by the clock and of CPU; it counts as ``each``."""
    rounds = []
    for _ in range(ROUNDS):
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - start, time.process_time() - cpu))
    return [median(column) / count / each for column in zip(*rounds, strict=True)]


async def awaiting(call: Callable[[], Awaitable[object]], count: int, each: int = 1) -> Cost:
    """Return the same of an awaited call."""
    rounds = []
    for _ in range(ROUNDS):
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            await call()
        rounds.append((time.perf_counter() - start, time.process_time() - cpu))
    return [median(column) / count / each for column in zip(*rounds, strict=True)]


def time_blocking(module: str, port: int) -> dict[str, Cost]:
    """Time the blocking SDK."""
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfigSync
    options = options_for(module, port)

    def create(image: str = "x") -> None:
        root.SandboxSync.create(image, connection_config=config(**options)).close()

    sandbox = root.SandboxSync.create("x", connection_config=config(**options))
    figures = {
        "run, blocking": blocking(lambda: sandbox.commands.run("true"), CALLS),
        "get_metrics, blocking": blocking(sandbox.get_metrics, CALLS),
        "create, blocking": blocking(create, CREATES),
    }
    for image, meanwhile in LATE.items():
        name = f"create, ready after 50 ms ({meanwhile}), blocking"
        figures[name] = blocking(partial(create, image), 3)
    return figures


async def time_async(module: str, port: int) -> dict[str, Cost]:
    """Time the async SDK."""
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfig
    options = options_for(module, port)

    async def create(image: str = "x") -> None:
        await (await root.Sandbox.create(image, connection_config=config(**options))).close()

    async def two_hundred(command: str = "true") -> None:
        await asyncio.gather(*(sandbox.commands.run(command) for _ in range(200)))

    sandbox = await root.Sandbox.create("x", connection_config=config(**options))
    figures = {
        "run, async": await awaiting(lambda: sandbox.commands.run("true"), CALLS),
        "200 runs at once, async": await awaiting(two_hundred, 1, 200),
        "200 runs of 100 ms at once, async": await awaiting(lambda: two_hundred("slow"), 1, 200),
        "get_metrics, async": await awaiting(sandbox.get_metrics, CALLS),
        "create, async": await awaiting(create, CREATES),
    }
    for image, meanwhile in LATE.items():
        name = f"create, ready after 50 ms ({meanwhile}), async"
        figures[name] = await awaiting(partial(create, image), 3)
    return figures


def options_for(module: str, port: int) -> dict[str, object]:
    """Return the configuration; the vendor's telemetry is off, as ours has none."""
    options: dict[str, object] = {
        "domain": f"127.0.0.1:{port}",
        "request_timeout": timedelta(minutes=10),
    }
    return options | ({"disable_metrics": True} if module == "opensandbox" else {})


def main() -> None:
    logging.disable(logging.CRITICAL)
    module, port = sys.argv[1], int(sys.argv[2])
    figures = time_blocking(module, port) | asyncio.run(time_async(module, port))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
