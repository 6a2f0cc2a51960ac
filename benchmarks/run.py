"""Our SDK beside the vendor's, in one run: import time and the cost of a call.

``make bench`` runs it and prints a table for ``benchmarks/README.md``. Rounds of the two are
interleaved, and only the ratios mean something on another machine.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time

from table import HERE, OURS, VENDOR, Cost, Goal, header, line, rounds, served

IMPORTS = {
    "import the package": "import {0}",
    "from … import Sandbox": "from {0} import Sandbox",
    "from … import SandboxSync": "from {0} import SandboxSync",
}
CREATE_RUN_CLOSE = """
from {0} import SandboxSync
from {0}.config import ConnectionConfigSync
sandbox = SandboxSync.create("x"{1})
sandbox.commands.run("true")
sandbox.close()
"""
ASYNC = """
import asyncio
from {0} import Sandbox
from {0}.config import ConnectionConfig
async def main():
    sandbox = await Sandbox.create("x"{1})
    await sandbox.commands.run("true")
    await sandbox.close()
asyncio.run(main())
"""
WHOLE = {
    "a whole process: create, run, close": CREATE_RUN_CLOSE,
    "a whole process, async": ASYNC,
}
PROCESS_ROUNDS = rounds(11)
CALL_ROUNDS = rounds(3)

LATE = Goal(ms=65)
GOALS = {
    "from … import Sandbox": Goal(times=5),
    "from … import SandboxSync": Goal(times=5),
    "a whole process: create, run, close": Goal(times=4),
    "a whole process, async": Goal(times=4),
    "run, async": Goal(times=4),
    "run, blocking": Goal(times=3),
    "200 runs at once, async": Goal(times=12),
    "200 runs of 100 ms at once, async": Goal(times=4),
    "create, async": Goal(ms=3),
    "create, blocking": Goal(ms=3),
}


def process(python: str, program: str, env: dict[str, str]) -> list[float]:
    """Return the seconds by the clock and of CPU of a whole process."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", program], check=True, cwd="/", env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [wall, cpu]


def processes(port: str) -> dict[str, tuple[Cost, Cost]]:
    """Return what whole processes cost above a bare interpreter, ours and the vendor's."""
    env = {**os.environ, "OPEN_SANDBOX_DOMAIN": f"127.0.0.1:{port}"}
    named = f', connection_config=ConnectionConfig%s(domain="127.0.0.1:{port}")'
    programs: dict[str, str] = {"bare": "pass", **IMPORTS}
    for name, program in WHOLE.items():
        colour = "" if program is ASYNC else "Sync"
        programs[name] = program.replace("{1}", named % colour)
        without = "\n".join(x for x in program.splitlines() if ".config" not in x)
        programs[f"{name} (server named by the environment)"] = without.replace("{1}", "")
    sides = OURS, VENDOR
    taken: dict[str, tuple[list[list[float]], ...]] = {name: ([], []) for name in programs}
    for _ in range(PROCESS_ROUNDS):
        for name, program in programs.items():
            for side, (python, module) in enumerate(sides):
                taken[name][side].append(process(python, program.replace("{0}", module), env))
    bare = [Cost.median_of(side) for side in taken.pop("bare")]
    return {
        name: (above(Cost.median_of(ours), bare[0]), above(Cost.median_of(vendor), bare[1]))
        for name, (ours, vendor) in taken.items()
    }


def above(cost: Cost, bare: Cost) -> Cost:
    """Return what is left of a cost without that of the interpreter."""
    return Cost(cost.wall - bare.wall, cost.cpu - bare.cpu)


def calls(port: str) -> dict[str, tuple[Cost, Cost]]:
    """Return what calls cost, ours and the vendor's."""
    taken: tuple[list[dict[str, list[float]]], ...] = ([], [])
    for _ in range(CALL_ROUNDS):
        for side, (python, module) in enumerate((OURS, VENDOR)):
            command = [python, HERE / "calls.py", module, port]
            done = subprocess.run(command, check=True, capture_output=True)
            taken[side].append(json.loads(done.stdout))
    ours, vendor = (
        {name: Cost.median_of([one[name] for one in side]) for name in side[0]} for side in taken
    )
    return {name: (cost, vendor[name]) for name, cost in ours.items()}


def main() -> None:
    with served("stub.py") as (port, kind):
        print(f"The stub is in {kind}.\n\n{header()}", flush=True)
        for measure in (processes, calls):
            for name, (ours, vendor) in measure(port).items():
                goal = GOALS.get(name, LATE if "after 50 ms" in name else None)
                is_rate = "run" in name and "process" not in name
                print(line(name, ours, vendor, goal, rate=is_rate), flush=True)


if __name__ == "__main__":
    main()
