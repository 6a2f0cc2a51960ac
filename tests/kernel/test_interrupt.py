"""Interrupt: the cell ends at once, what follows does not run, nothing is left in the sandbox."""

from __future__ import annotations

import pytest
from kernels import Kernel

_SLEEPERS = "grep -lsx sleep /proc/[0-9]*/comm | wc -l"


@pytest.mark.parametrize(
    "form", ["%%sandbox_exec -o stopped\n", "%sandbox_exec -o stopped ", "%sandbox run -o stopped "]
)
def test_interrupt_stops_the_command_there_and_run_all_here(kernel: Kernel, form: str) -> None:
    request = kernel.send(f"{form}echo begun; sleep 600; echo never")
    kernel.collect(request, until="begun")
    queued = kernel.send("reached = True")
    kernel.manager.interrupt_kernel()

    cell = kernel.collect(request)
    assert cell.status == "error"
    assert cell.reply["ename"] == "CommandInterrupted"
    assert "its processes in the sandbox are gone" in cell.errors[0]["evalue"]
    assert cell.displays[0] == "begun"
    assert "interrupted" in cell.displays[1]
    assert kernel.collect(queued).status in ("aborted", "error")
    assert kernel.run(f"%%sandbox_exec\n{_SLEEPERS}").displays[0] == "0"
    assert kernel.value("(stopped.interrupted, stopped.running, stopped.text)") == (
        True,
        False,
        "begun\n",
    )


def test_a_command_that_ignores_the_polite_signal_is_ended_too(kernel: Kernel) -> None:
    request = kernel.send("%%sandbox_exec\ntrap '' TERM INT\necho begun\nwhile :; do sleep 1; done")
    kernel.collect(request, until="begun")
    kernel.manager.interrupt_kernel()
    cell = kernel.collect(request)
    assert "are gone" in cell.errors[0]["evalue"]
    assert kernel.run(f"%%sandbox_exec\n{_SLEEPERS}").displays[0] == "0"


def test_output_on_the_way_out_is_kept(kernel: Kernel) -> None:
    request = kernel.send(
        "%%sandbox_exec\ntrap 'echo cleaning; exit 5' TERM\necho begun\nwhile :; do sleep 0.1; done"
    )
    kernel.collect(request, until="begun")
    kernel.manager.interrupt_kernel()
    shown = kernel.collect(request).displays[0].splitlines()
    assert shown[0] == "begun"
    assert "cleaning" in shown


def test_the_kernel_is_as_before_after_an_interrupt(kernel: Kernel) -> None:
    request = kernel.send("%%sandbox_exec\necho begun; sleep 600")
    kernel.collect(request, until="begun")
    kernel.manager.interrupt_kernel()
    kernel.collect(request)
    assert kernel.run("%%sandbox_exec\necho again").displays[0] == "again"
    request = kernel.send("print('started', flush=True)\nimport time\ntime.sleep(600)")
    while kernel.client.get_iopub_msg(timeout=30)["msg_type"] != "stream":
        pass
    kernel.manager.interrupt_kernel()
    assert kernel.collect(request).reply["ename"] == "KeyboardInterrupt"


def test_a_run_can_be_stopped_from_python(kernel: Kernel) -> None:
    kernel.run("%sandbox_exec --bg -o job sleep 600")
    assert kernel.value("job.running") is True
    kernel.run("job.interrupt()")
    assert kernel.value("job.wait(20)") is True
    assert kernel.value("job.interrupted") is True
    assert kernel.run("job.interrupt()").reply["ename"] == "SandboxException"
