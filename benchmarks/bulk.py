"""Much at once, ours and the vendor's: a million events, and 1 GiB up and down.

``make bench-bulk`` prints a table for ``benchmarks/README.md``. Each figure is measured in a
process of its own, which also tells how much its memory grew at its peak.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from calls import options_for
from table import HERE, OURS, VENDOR, Cost, Goal, header, line, rounds, served

GIB = 1 << 30
ROUNDS = rounds(3)
HANDLED = "1,000,000 events with a handler"
KEPT = "1,000,000 events kept"
GOALS = {
    HANDLED: Goal(times=15, mib=8),
    KEPT: Goal(times=15, mib=110),
    "read_bytes, 1 GiB": Goal(times=5, mib=1.1 * 1024),
    "read_bytes_stream, 1 GiB": Goal(times=2, mib=8),
    "write_file, 1 GiB": Goal(times=10, mib=32),
}


def work_of(figure: str, module: str, sandbox: Any) -> Callable[[], Any]:
    """Return what is timed. Bytes to write are made before, and are not counted as growth."""
    if figure == KEPT:
        return lambda: sandbox.commands.run("much")
    if figure == HANDLED:
        handlers = handlers_of(module, is_async=hasattr(sandbox, "__aenter__"))
        return lambda: sandbox.commands.run("much", handlers=handlers)
    if figure.startswith("read_bytes_stream"):
        return lambda: drain(sandbox.files.read_bytes_stream("/much"))
    if figure.startswith("read_bytes"):
        return lambda: sandbox.files.read_bytes("/much")
    data = b"x" * GIB
    return lambda: sandbox.files.write_file("/much", data)


def handlers_of(module: str, *, is_async: bool) -> Any:
    """Return handlers that only look; nothing is kept."""

    async def look(message: Any) -> None:
        message.text  # noqa: B018

    def look_at_once(message: Any) -> None:
        message.text  # noqa: B018

    if is_async:
        kind = importlib.import_module(f"{module}.models.execd").ExecutionHandlers
        return kind(on_stdout=look, skip_accumulation=True)
    kind = importlib.import_module(f"{module}.models.execd_sync").ExecutionHandlersSync
    return kind(on_stdout=look_at_once, skip_accumulation=True)


def drain(pieces: Any) -> Any:
    """Read a stream and keep nothing; the vendor's async one is awaited first."""

    async def read() -> None:
        async for _ in pieces if hasattr(pieces, "__aiter__") else await pieces:
            pass

    if not hasattr(pieces, "__next__"):
        return read()
    for _ in pieces:
        pass
    return None


def peak() -> float:
    """Return the highest memory use of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure_async(module: str, port: int, figure: str) -> list[float]:
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfig
    sandbox = await root.Sandbox.create("x", connection_config=config(**options_for(module, port)))
    work = work_of(figure, module, sandbox)
    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    kept = await work()
    cost = [time.perf_counter() - start, time.process_time() - cpu, peak() - before]
    del kept
    await sandbox.close()
    return cost


def measure_blocking(module: str, port: int, figure: str) -> list[float]:
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfigSync
    sandbox = root.SandboxSync.create("x", connection_config=config(**options_for(module, port)))
    work = work_of(figure, module, sandbox)
    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    kept = work()
    cost = [time.perf_counter() - start, time.process_time() - cpu, peak() - before]
    del kept
    sandbox.close()
    return cost


def child(module: str, port: int, figure: str, colour: str) -> None:
    """Measure one figure and print it."""
    logging.disable(logging.CRITICAL)
    if colour == "async":
        print(json.dumps(asyncio.run(measure_async(module, port, figure))))
    else:
        print(json.dumps(measure_blocking(module, port, figure)))


def main() -> None:
    with served("bulk_stub.py") as (port, _):
        print(header(), flush=True)
        for figure, goal in GOALS.items():
            for colour in ("async", "blocking"):
                taken: tuple[list[list[float]], ...] = ([], [])
                for _ in range(ROUNDS):
                    for side, (python, module) in enumerate((OURS, VENDOR)):
                        command = [python, HERE / "bulk.py", module, port, figure, colour]
                        done = subprocess.run(command, check=True, capture_output=True)
                        taken[side].append(json.loads(done.stdout))
                ours, vendor = map(Cost.median_of, taken)
                print(line(f"{figure}, {colour}", ours, vendor, goal), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main()
