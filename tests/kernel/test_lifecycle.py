"""``%sandbox`` in a live kernel: verbs, background runs, completion, the end of the kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernels import Kernel, living_kernel
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from opensandbox_jupyter import SandboxManagerSync, SandboxSync
from opensandbox_jupyter.exceptions import SandboxApiException


def exists(sandbox_id: str) -> bool:
    with SandboxManagerSync.create() as manager:
        try:
            state = manager.get_sandbox_info(sandbox_id).status.state
        except SandboxApiException:
            return False
        return state not in ("Terminated", "Stopping")


def test_create_binds_a_handle_and_shows_a_card(kernel: Kernel, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("PASSWORD=s3cret\n")
    cell = kernel.run(
        "%sandbox create base --name two --timeout 20m --env A=1 --meta team=<b>x --var box"
    )
    assert cell.reply["ename"] == "SandboxApiException"  # the server takes no such label
    cell = kernel.run(
        f"%sandbox create base --name two --timeout 20m --env A=1 --env-file {secrets}"
        " --meta team=blue --var box"
    )
    (message,) = cell.messages
    assert "two" in message["content"]["data"]["text/plain"]
    assert re.search("in (19|20) min", cell.text)
    assert "team=blue" in message["content"]["data"]["text/html"]
    assert "s3cret" not in str(cell.messages)
    assert kernel.value("box.commands.run('echo $A $PASSWORD').stdout") == "1 s3cret\n"
    assert kernel.run("%sandbox_exec --on main hostname").status == "ok"
    assert kernel.run("%sandbox use nobody").reply["ename"] == "InvalidArgumentException"
    assert "main, two" in kernel.run("%sandbox use nobody").errors[0]["evalue"]
    assert kernel.run("%sandbox create --name two").reply["ename"] == "InvalidArgumentException"
    kernel.run("%sandbox kill two")
    assert kernel.value("box.is_healthy()") is False


def test_the_async_handle_works_in_the_notebook(kernel: Kernel) -> None:
    kernel.run("%sandbox create --name aio --async --var aio")
    assert kernel.run("r = await aio.commands.run('echo hi')").status == "ok"
    assert kernel.value("r.stdout") == "hi\n"
    assert kernel.run("%sandbox_exec echo both").displays[0] == "both"
    kernel.run("%sandbox kill aio")


def test_list_info_renew_pause_resume(kernel: Kernel) -> None:
    assert "this kernel" in kernel.run("%sandbox list").text
    assert "no sandboxes" in kernel.run("%sandbox list --meta none=such").text
    assert kernel.value("sandbox.id") in kernel.run("%sandbox info").text
    assert re.search("in (1 h 59|2 h 0) min", kernel.run("%sandbox renew 2h").text)
    kernel.run("%sandbox pause")
    assert kernel.run("%sandbox resume").status == "ok"
    assert kernel.run("%sandbox_exec echo awake").displays[0] == "awake"


def test_connect_takes_in_a_sandbox_made_elsewhere_and_does_not_own_it() -> None:
    with SandboxSync.create("base") as sandbox:
        with living_kernel() as kernel:
            kernel.run(f"%sandbox connect {sandbox.id} --name theirs")
            assert kernel.run("%sandbox_exec echo in").displays[0] == "in"
            assert "no sandboxes" in kernel.run("%sandbox kill --all").text
        assert exists(sandbox.id)
        sandbox.kill()


def test_a_sandbox_that_is_gone_is_told_in_one_sentence(kernel: Kernel) -> None:
    kernel.run("%sandbox create --name brief")
    with SandboxManagerSync.create() as manager:
        manager.kill_sandbox(kernel.value("sandbox.id"))
    cell = kernel.run("%sandbox_exec echo too late")
    assert cell.reply["ename"] == "SandboxUnhealthyException"
    assert "The sandbox is gone" in cell.errors[0]["evalue"]
    assert "%sandbox create" in cell.errors[0]["evalue"]
    assert kernel.run("%sandbox kill brief").status == "ok"


def test_a_background_run_goes_on_and_its_display_is_updated(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%sandbox_exec --bg -o job\necho begun; until [ -e done ]; do sleep 0.1; done"
    )
    (message,) = cell.messages
    assert "running in the background" in cell.text
    shown = message["content"]["transient"]["display_id"]
    assert kernel.run("%sandbox_exec echo free").displays[0] == "free"
    kernel.run("%sandbox_exec touch done")
    assert kernel.value("job.wait(30)") is True
    assert kernel.value("(job.exit_code, job.text)") == (0, "begun\n")
    while "exit 0" not in kernel.displays[shown]:
        kernel.read()
    assert kernel.displays[shown].startswith("begun\n")


def test_tab_completes_on_our_lines_and_nowhere_else(kernel: Kernel) -> None:
    assert kernel.complete("%sandbox cre") == ["create"]
    assert kernel.complete("%sandbox create --mem") == ["--memory"]
    assert kernel.complete("%sandbox use ma") == ["main"]
    assert kernel.complete("%sandbox_exec --on ma") == ["main"]
    assert kernel.complete("%%sandbox_exec --ti") == ["--timeout"]
    assert kernel.complete("x = %sandbox_exec --cw") == ["--cwd"]
    assert "base" in kernel.complete("%sandbox create ")
    kernel.run("%sandbox_exec true")
    assert "1" in kernel.complete("%sandbox show ")
    assert kernel.complete("%%sandbox_exec\necho --ti") != ["--timeout"]
    assert "import" in kernel.complete("impor")


def test_the_extension_can_be_loaded_again_and_taken_out(kernel: Kernel) -> None:
    before = kernel.value("sandbox.id")
    for code in ("%reload_ext opensandbox_jupyter", "%load_ext opensandbox_jupyter"):
        assert kernel.run(code).status == "ok"
    assert kernel.run("%%sandbox_exec\necho once").displays[0] == "once"
    assert kernel.run("%sandbox info").status == "ok"
    kernel.run("%unload_ext opensandbox_jupyter")
    assert kernel.value("'sandbox' in get_ipython().magics_manager.magics['line']") is False
    kernel.run("%load_ext opensandbox_jupyter")
    assert kernel.value("sandbox.id") == before
    assert before in kernel.run("%sandbox info").text


@pytest.mark.parametrize("restart", [False, True])
def test_the_end_of_the_kernel_is_the_end_of_what_it_made(restart: bool) -> None:
    with living_kernel() as kernel:
        kernel.run("%sandbox create --name lasting --keep")
        kept = kernel.value("sandbox.id")
        kernel.run("%sandbox create --name fleeting")
        fleeting = kernel.value("sandbox.id")
        kernel.run("%sandbox_exec -o r echo kept")
        path = Path(kernel.value("str(r.path)"))
        if restart:
            kernel.manager.restart_kernel()
            kernel.client.wait_for_ready(timeout=50)
        else:
            kernel.client.shutdown()
            while kernel.manager.is_alive():
                time.sleep(0.05)
        assert not exists(fleeting)
        assert exists(kept)
        assert path.read_text() == "kept\n"
    with SandboxManagerSync.create() as manager:
        manager.kill_sandbox(kept)


def test_plain_ipython_prints_to_its_own_streams(tmp_path: Path) -> None:
    script = tmp_path / "cells.ipy"
    script.write_text(
        "%load_ext opensandbox_jupyter\n"
        "%sandbox create --name terminal\n"
        "%sandbox_exec --no-raise echo out; echo err >&2; printf '\\033]0;t\\007'; exit 3\n"
        "%sandbox kill\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "TERM": "dumb"},
        check=False,
    )
    assert "\nout\n" in done.stdout
    assert "err\n" in done.stderr
    assert "exit 3" in done.stderr
    assert "\x1b]0" not in done.stdout
    assert done.returncode == 0


def test_a_background_run_is_saved_in_its_own_cell_by_a_headless_notebook() -> None:
    codes = (
        "%load_ext opensandbox_jupyter\n%sandbox create",
        "%%sandbox_exec --bg -o job\necho begun; sleep 0.3; echo ended",
        "job.wait(30)",
        "%sandbox kill",
    )
    notebook = new_notebook(cells=[new_code_cell(code) for code in codes])
    NotebookClient(notebook).execute()
    (output,) = notebook.cells[1].outputs
    assert output["data"]["text/plain"].startswith("begun\nended\nexit 0")
