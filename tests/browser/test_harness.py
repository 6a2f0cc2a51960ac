"""The harness itself: a person's steps in JupyterLab, without this package."""

from __future__ import annotations

from lab import Open

WAIT_FOR_GATE = """
import pathlib, time
print("first", flush=True)
while not pathlib.Path("gate").exists():
    time.sleep(0.05)
print("second")
"""


def test_output_is_seen_while_its_cell_still_runs(open_cells: Open) -> None:
    notebook = open_cells([WAIT_FOR_GATE, "print(6 * 7)"])

    notebook.run_all()
    notebook.wait_text(0, "first")
    notebook.wait_running(0)
    (notebook.path.parent / "gate").touch()

    notebook.wait_text(0, "second")
    notebook.wait_text(1, "42")


def test_stop_button_ends_a_cell_and_run_all(open_cells: Open) -> None:
    notebook = open_cells(["import time; print('on'); time.sleep(600)", "print('never')", "1 + 1"])

    notebook.run_all()
    notebook.wait_text(0, "on")
    notebook.interrupt()

    notebook.wait_text(0, "KeyboardInterrupt")
    notebook.run(2)
    notebook.wait_text(2, "2")
    assert "never" not in notebook.output(1).inner_text()


def test_typed_source_and_outputs_are_saved(open_cells: Open) -> None:
    notebook = open_cells(["print('kept')", "x = 1"])

    notebook.run(0)
    notebook.wait_done(0)
    notebook.type_into(1, "\ny = 2")
    saved = notebook.save()

    assert saved.cells[0].outputs[0].text == "kept\n"
    assert saved.cells[1].source == "x = 1\ny = 2"
