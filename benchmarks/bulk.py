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
from statistics import median
from typing import Any

from calls import options_for
from run import HERE, OURS, VENDOR

GIB = 1 << 30
ROUNDS = 2
FIGURES = (
    "1,000,000 events",
    "read_bytes, 1 GiB",
    "read_bytes_stream, 1 GiB",
    "write_file, 1 GiB",
)


def work_of(figure: str, sandbox: Any) -> Callable[[], Any]:
    """Return what is timed. Bytes to write are made before, and are not counted as growth."""
    if figure.startswith("1,000,000"):
        return lambda: sandbox.commands.run("much")
    if figure.startswith("read_bytes_stream"):
        return lambda: drain(sandbox.files.read_bytes_stream("/much"))
    if figure.startswith("read_bytes"):
        return lambda: sandbox.files.read_bytes("/much")
    data = b"x" * GIB
    return lambda: sandbox.files.write_file("/much", data)


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


async def measure_async(module: str, port: int, figure: str) -> tuple[float, float]:
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfig
    sandbox = await root.Sandbox.create("x", connection_config=config(**options_for(module, port)))
    work = work_of(figure, sandbox)
    before, start = peak(), time.perf_counter()
    kept = await work()
    figures = time.perf_counter() - start, peak() - before
    del kept
    await sandbox.close()
    return figures


def measure_blocking(module: str, port: int, figure: str) -> tuple[float, float]:
    root = importlib.import_module(module)
    config = importlib.import_module(f"{module}.config").ConnectionConfigSync
    sandbox = root.SandboxSync.create("x", connection_config=config(**options_for(module, port)))
    work = work_of(figure, sandbox)
    before, start = peak(), time.perf_counter()
    kept = work()
    figures = time.perf_counter() - start, peak() - before
    del kept
    sandbox.close()
    return figures


def child(module: str, port: int, figure: str, colour: str) -> None:
    """Measure one figure and print it."""
    logging.disable(logging.CRITICAL)
    if colour == "async":
        print(json.dumps(asyncio.run(measure_async(module, port, figure))))
    else:
        print(json.dumps(measure_blocking(module, port, figure)))


def main() -> None:
    stub = subprocess.Popen(
        [sys.executable, HERE / "bulk_stub.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stub.stdout is not None
    port = stub.stdout.readline().strip()
    print("| figure | ours | memory | vendor 1.1.1 | memory | vendor / ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    try:
        for figure in FIGURES:
            for colour in ("async", "blocking"):
                rounds: tuple[list[Any], list[Any]] = ([], [])
                for _ in range(ROUNDS):
                    for side, (python, module) in enumerate((OURS, VENDOR)):
                        command = [python, HERE / "bulk.py", module, port, figure, colour]
                        done = subprocess.run(command, check=True, capture_output=True)
                        rounds[side].append(json.loads(done.stdout))
                (ours, grown), (vendor, vendors) = (
                    [median(column) for column in zip(*rows, strict=True)] for rows in rounds
                )
                print(
                    f"| {figure}, {colour} | {ours:.2f} s | {grown:,.0f} MiB "
                    f"| {vendor:.1f} s | {vendors:,.0f} MiB | {vendor / ours:.1f} |",
                    flush=True,
                )
    finally:
        stub.communicate()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main()
