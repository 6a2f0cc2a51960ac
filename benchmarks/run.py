"""Our SDK beside the vendor's, in one run: import time and the cost of a call.

``make bench`` runs it and prints a table for ``benchmarks/README.md``. Rounds of the two are
interleaved, and only the ratios mean something on another machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
OURS = (sys.executable, "opensandbox_jupyter")
VENDOR = (str(HERE.parent / ".venvs" / "vendor" / "bin" / "python"), "opensandbox")
IMPORTS = {
    "import the package": "import {0}",
    "from … import Sandbox": "from {0} import Sandbox",
    "from … import SandboxSync": "from {0} import SandboxSync",
}
WHOLE = {
    "a whole process: create, run, close": """
import os
os.environ["OPEN_SANDBOX_DOMAIN"] = "127.0.0.1:{1}"
from {0} import SandboxSync
sandbox = SandboxSync.create("x")
sandbox.commands.run("true")
sandbox.close()
""",
    "the same with a ConnectionConfigSync": """
from {0} import SandboxSync
from {0}.config import ConnectionConfigSync
sandbox = SandboxSync.create("x", connection_config=ConnectionConfigSync(domain="127.0.0.1:{1}"))
sandbox.commands.run("true")
sandbox.close()
""",
}
IMPORT_ROUNDS = 11
WHOLE_ROUNDS = 5
CALL_ROUNDS = 3


def seconds(python: str, statement: str) -> float:
    """Return the wall time of a whole process."""
    start = time.perf_counter()
    subprocess.run([python, "-c", statement], check=True, cwd="/")
    return time.perf_counter() - start


def import_figures() -> dict[str, tuple[float, float]]:
    """Return milliseconds above a bare interpreter, ours and the vendor's."""
    rows: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in IMPORTS}
    bare: tuple[list[float], list[float]] = ([], [])
    for _ in range(IMPORT_ROUNDS):
        for side, (python, module) in enumerate((OURS, VENDOR)):
            bare[side].append(seconds(python, "pass"))
            for name, statement in IMPORTS.items():
                rows[name][side].append(seconds(python, statement.format(module)))
    return {
        name: tuple(1000 * (median(t[i]) - median(bare[i])) for i in (0, 1))  # type: ignore[misc]
        for name, t in rows.items()
    }


def call_figures() -> dict[str, tuple[float, float]]:
    """Return microseconds a call, ours and the vendor's, against the same stub."""
    stub = subprocess.Popen(
        [sys.executable, HERE / "stub.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stub.stdout is not None
    port = stub.stdout.readline().strip()
    try:
        whole: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in WHOLE}
        for _ in range(WHOLE_ROUNDS):
            for side, (python, module) in enumerate((OURS, VENDOR)):
                for name, program in WHOLE.items():
                    took = seconds(python, program.format(module, port)) * 1e6
                    whole[name][side].append(took)
        rounds: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
        for _ in range(CALL_ROUNDS):
            for side, (python, module) in enumerate((OURS, VENDOR)):
                done = subprocess.run(
                    [python, HERE / "calls.py", module, port],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                rounds[side].append(json.loads(done.stdout))
    finally:
        stub.communicate()
    return {name: (median(ours), median(vendor)) for name, (ours, vendor) in whole.items()} | {
        name: (
            median(figures[name] for figures in rounds[0]),
            median(figures[name] for figures in rounds[1]),
        )
        for name in rounds[0][0]
    }


def main() -> None:
    if not Path(VENDOR[0]).exists():
        raise SystemExit("The vendor's SDK is not installed: run make vendor.")
    print("| figure | ours | vendor 1.1.1 | ours / vendor |")
    print("| --- | --- | --- | --- |")
    for unit, figures in (("ms", import_figures()), ("µs", call_figures())):
        for name, (ours, vendor) in figures.items():
            print(f"| {name} | {ours:,.0f} {unit} | {vendor:,.0f} {unit} | {ours / vendor:.2f} |")


if __name__ == "__main__":
    main()
