"""The last line under a run: how it ended, in words that are the same every time when asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.runs import Run

__all__ = ["footer", "lines_of", "plain_wanted", "size_of", "time_of"]


def plain_wanted() -> bool:
    """Whether output must be the same in every run: no times, no ids, no half-drawn frames."""
    return bool(os.environ.get("OPENSANDBOX_JUPYTER_PLAIN"))


def footer(run: Run) -> str:
    """Return one line about a run that has ended."""
    outcome = run.state
    if plain_wanted():
        return outcome
    if outcome != "exit 0":
        outcome = f"\x1b[1;31m{outcome}\x1b[0m"
    parts = [outcome, time_of(run.seconds), *_amounts(run), f"run {run.id}"]
    return " · ".join(parts)


def _amounts(run: Run) -> list[str]:
    if not run.size:
        return []
    lines = lines_of(run.lines)
    if run.error_lines:
        lines += f" ({run.error_lines:,} on stderr)"
    return [lines, size_of(run.size)]


def lines_of(count: int) -> str:
    """Return a number of lines for people."""
    return f"{count:,} line{'s' * (count != 1)}"


def time_of(seconds: float) -> str:
    """Return a span of time for people: ``0.31 s``, ``2 min 5 s``, ``1 h 10 min``."""
    if seconds < 60:
        return f"{max(seconds, 0):.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size_of(size: int) -> str:
    """Return a number of bytes for people: ``512 B``, ``1.2 KB``."""
    if size < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in ("KB", "MB", "GB"):
        amount /= 1024
        if amount < 1024 or unit == "GB":
            break
    return f"{amount:.1f} {unit}"
