"""The table that both benchmarks print: ours, the vendor's, what is to be reached, and whether."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
OURS = (sys.executable, "opensandbox_jupyter")
VENDOR = (str(HERE.parent / ".venvs" / "vendor" / "bin" / "python"), "opensandbox")


def rounds(usual: int) -> int:
    """Return how often each thing is measured: ``ROUNDS`` in the environment, or as usual."""
    return int(os.environ.get("ROUNDS", usual))


@dataclass(frozen=True)
class Goal:
    """How many ``times`` as fast as the vendor's, or within how much: ``ms``, ``mib`` of memory."""

    times: float | None = None
    ms: float | None = None
    mib: float | None = None

    def __str__(self) -> str:
        said = [
            f"{self.times:g} times" if self.times else "",
            f"{self.ms:g} ms" if self.ms else "",
            f"{self.mib:,.0f} MiB" if self.mib else "",
        ]
        return ", ".join(filter(None, said))

    def reached(self, ours: Cost, vendor: Cost) -> bool:
        """Return whether ours is as it should be."""
        return (
            (self.times is None or vendor.wall >= self.times * ours.wall)
            and (self.ms is None or ours.wall * 1000 <= self.ms)
            and (self.mib is None or ours.mib <= self.mib)
        )


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, seconds of CPU (of the client alone), and MiB at the peak."""

    wall: float
    cpu: float
    mib: float = 0.0

    @classmethod
    def median_of(cls, costs: list[list[float]]) -> Cost:
        """Return the middle of several, each ``[wall, cpu, mib]``."""
        return cls(*map(median, zip(*costs, strict=True)))


def header() -> str:
    """Return the first lines of the table."""
    names = "figure", "ours", "vendor 1.1.1", "vendor / ours", "by CPU", "to reach", "reached"
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def line(name: str, ours: Cost, vendor: Cost, goal: Goal | None, *, rate: bool = False) -> str:
    """Return a line of the table; ``rate`` shows calls a second instead of the time of one."""
    cells = [
        name,
        *(shown(cost, rate=rate) for cost in (ours, vendor)),
        f"{vendor.wall / ours.wall:.1f}",
        f"{vendor.cpu / ours.cpu:.1f}" if ours.cpu > 0 else "",
        str(goal or ""),
        "" if goal is None else "yes" if goal.reached(ours, vendor) else "**no**",
    ]
    return f"| {' | '.join(cells)} |"


def shown(cost: Cost, *, rate: bool) -> str:
    """Return a cost in words."""
    if rate:
        return f"{1 / cost.wall:,.0f} /s"
    if cost.wall >= 0.5:
        text = f"{cost.wall:.2f} s"
    else:
        text = f"{cost.wall * 1000:.{1 if cost.wall < 0.1 else 0}f} ms"
    return f"{text}, + {cost.mib:,.0f} MiB" if cost.mib else text


@contextmanager
def served(program: str, *arguments: str) -> Iterator[tuple[str, str]]:
    """Run a stub and give its port, and what else it says of itself."""
    if not Path(VENDOR[0]).exists():
        raise SystemExit("The vendor's SDK is not installed: run make vendor.")
    stub = subprocess.Popen(
        [sys.executable, HERE / program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stub.stdout is not None
    try:
        port, _, kind = stub.stdout.readline().strip().partition(" ")
        yield port, kind
    finally:
        stub.communicate()
