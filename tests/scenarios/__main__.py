"""``python -m scenarios SDK COLOUR [WORD...]``: every step, told by a line each.

SDK is ``opensandbox`` or ``opensandbox_jupyter``, COLOUR ``async`` or ``blocking``; with WORDs only
steps with one of them in their names. The server is named by OPEN_SANDBOX_DOMAIN,
OPEN_SANDBOX_API_KEY, OPEN_SANDBOX_PROTOCOL and OPEN_SANDBOX_USE_SERVER_PROXY, the image by
SCENARIO_IMAGE. What the server lacks is told and is no failure; the exit code is 1 after one.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

ROOMS = (
    "lifecycle", "commands", "files", "code", "network", "keeping", "isolation", "pools",
    "mistakes", "beyond",
)  # fmt: skip
Step = tuple[str, Callable[..., Any]]


def steps(words: list[str]) -> Iterator[Step]:
    """Give the steps that were asked for, in their order."""
    from scenarios import sdk

    for room in ROOMS if sdk.OURS else ROOMS[:-1]:
        module = import_module(f"scenarios.{room}")
        for name, step in vars(module).items():
            ours = inspect.iscoroutinefunction(step) and step.__module__ == module.__name__
            title = f"{room}.{name}"
            if ours and name[0] != "_" and (not words or any(word in title for word in words)):
                yield title, step


async def run(words: list[str]) -> int:
    """Run the steps; return how many failed."""
    from scenarios import sdk

    failures = 0
    sandbox = await sdk.create()
    try:
        for title, step in steps(words):
            begin = time.monotonic()
            try:
                await (step(sandbox) if inspect.signature(step).parameters else step())
                told = "ok"
            except sdk.NotThere as lack:
                told = f"not there: {lack}"
            except Exception:
                failures += 1
                told = f"FAILED\n{traceback.format_exc()}"
            print(f"{title} ({time.monotonic() - begin:.1f} s): {told}", flush=True)
        return failures
    finally:
        await sandbox.close()
        await clean()


async def clean() -> None:
    """Remove every sandbox of this run."""
    from scenarios import sdk

    async with await sdk.manager() as manager:
        which = sdk.sandboxes.SandboxFilter(metadata={"scenario": sdk.TAG}, page_size=100)
        for info in (await manager.list_sandbox_infos(which)).sandbox_infos:
            try:
                await manager.kill_sandbox(info.id)
            except sdk.ApiError as error:
                print(f"{info.id} is left: {error}")


def main() -> int:
    """Run what the command line says; return the exit code."""
    if len(sys.argv) < 3 or not os.environ.get("OPEN_SANDBOX_DOMAIN"):
        print(__doc__)
        return 2
    os.environ["SCENARIO_SDK"], os.environ["SCENARIO_COLOUR"], *words = sys.argv[1:]
    from scenarios.colours import drive

    work = run(words)
    return bool(drive(work) if sys.argv[2] == "blocking" else asyncio.run(work))


if __name__ == "__main__":
    raise SystemExit(main())
