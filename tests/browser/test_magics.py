"""The magics as a person meets them in JupyterLab."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab import Lab, Notebook, Open
from playwright.sync_api import Page, expect

from opensandbox_jupyter import SandboxManagerSync, SandboxSync
from opensandbox_jupyter.models.sandboxes import SandboxFilter

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
START = "%load_ext opensandbox_jupyter\n%sandbox create"
COUNT_SLEEPERS = 'echo "found $(grep -lsx sleep /proc/[0-9]*/comm | wc -l)"'


def sandbox_of(test: str) -> SandboxSync:
    """Return the sandbox that a notebook labelled with its test, reached from outside of it."""
    with SandboxManagerSync.create() as manager:
        page = manager.list_sandbox_infos(SandboxFilter(metadata={"test": test}))
    (info,) = page.sandbox_infos
    return SandboxSync.connect(info.id)


def test_quick_start_runs_to_its_end(lab: Lab, page: Page) -> None:
    name = "01_quickstart.ipynb"
    shutil.copy(NOTEBOOKS / name, lab.root)
    notebook = Notebook(page, lab, name)

    notebook.run_all()
    last = max(n for n, cell in enumerate(notebook.save().cells) if cell.cell_type == "code")
    notebook.wait_done(last, patience=120_000)

    expect(notebook.errors()).to_have_count(0)
    expect(page.locator("mjx-container")).to_have_count(0)  # "$A and $B" is no formula
    notebook.screenshot("quickstart")


def test_output_is_seen_while_its_command_still_runs(open_cells: Open) -> None:
    gated = "%%sandbox_exec\necho first\nuntil [ -e /tmp/gate ]; do sleep 0.1; done\necho second"
    notebook = open_cells([f"{START} --meta test=streaming", gated])

    notebook.run_all()
    notebook.wait_text(1, "first")
    notebook.wait_running(1)
    assert "second" not in notebook.output(1).inner_text()
    notebook.screenshot("streaming")
    with sandbox_of("streaming") as sandbox:
        sandbox.files.write_file("/tmp/gate", "open")

    notebook.wait_text(1, "second")
    notebook.wait_text(1, "exit 0")


def test_interrupt_ends_cell_process_and_run_all(open_cells: Open) -> None:
    long = "%%sandbox_exec\necho sleeping\nsleep 600"
    count = f"%%sandbox_exec\n{COUNT_SLEEPERS}"
    notebook = open_cells([f"{START} --meta test=interrupt", long, "print('never')", count])

    notebook.run_all()
    notebook.wait_text(1, "sleeping")
    with sandbox_of("interrupt") as sandbox:
        assert sandbox.commands.run(COUNT_SLEEPERS).stdout.strip() == "found 1"
    notebook.interrupt()
    notebook.wait_text(1, "Interrupted")
    notebook.wait_idle()

    for index in (2, 3):
        expect(notebook.prompt(index)).to_have_text("[ ]:")
        assert notebook.output(index).inner_text().strip() == ""
    notebook.run(3)
    notebook.wait_text(3, "found 0")


def test_a_million_lines_leave_page_and_file_usable(open_cells: Open) -> None:
    flood = (
        "%%sandbox_exec\necho begin\nseq 1000000\n"
        "until [ -e /tmp/gate ]; do seq 100000; sleep 0.05; done\necho end"
    )
    notebook = open_cells([f"{START} --meta test=flood", flood, "x = 1"])

    notebook.run_all()
    notebook.wait_text(1, "begin")
    notebook.type_into(2, "\ny = 2")
    expect(notebook.cell(2)).to_contain_text("y = 2")
    notebook.wait_running(1)
    with sandbox_of("flood") as sandbox:
        sandbox.files.write_file("/tmp/gate", "open")
    notebook.wait_text(1, "exit 0")
    notebook.wait_text(1, "end")
    notebook.wait_done(2)
    saved = notebook.save()

    assert saved.cells[2].source == "x = 1\ny = 2"
    assert notebook.path.stat().st_size < 2_000_000
