"""Run a notebook here in the terminal and print it cell by cell, as it goes.

    python scripts/demo.py NOTEBOOK

Ends with 0 when every cell ran, with 1 at the first error.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def show(text: str) -> None:
    """Print ``text``, without colours where they would not be seen as such."""
    print(text if sys.stdout.isatty() else ANSI.sub("", text), end="", flush=True)


class Narrator(NotebookClient):
    """Prints streams while they come, and everything else, in its final state, after the cell."""

    def output(self, outs, msg, display_id, cell_index):
        """Take one output of the running cell."""
        if msg["msg_type"] == "stream":
            show(msg["content"]["text"])
        return super().output(outs, msg, display_id, cell_index)


def on_cell_start(cell: NotebookNode, cell_index: int) -> None:
    """Print what is about to run, or what is only there to be read."""
    if cell.cell_type == "code":
        lines = cell.source.splitlines()
        show(
            "\n"
            + "".join(f"{'In: ' if n == 0 else '    '}{line}\n" for n, line in enumerate(lines))
        )
    elif cell.cell_type == "markdown":
        show(f"\n{cell.source}\n")


def on_cell_executed(cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
    """Print what the cell left besides its streams."""
    for output in cell.get("outputs", ()):
        text = output.get("data", {}).get("text/plain")
        if output.output_type == "error":
            text = "\n".join(output.traceback)
        if text:
            show(f"{text}\n")


def main(path: Path) -> int:
    """Run the notebook at ``path``; return the exit code."""
    client = Narrator(
        nbformat.read(path, as_version=4),
        timeout=300,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=on_cell_start,
        on_cell_executed=on_cell_executed,
    )
    begun = time.monotonic()
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        show(f"\n{path.name} stopped: {why[-1]}\n")
        return 1
    show(f"\n{path.name} ran to its end in {time.monotonic() - begun:.1f} s.\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    sys.exit(main(Path(sys.argv[1])))
