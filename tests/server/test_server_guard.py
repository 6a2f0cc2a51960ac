"""A start that is not finished does not outlive its server."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from server_driving import wait_until

from opensandbox_jupyter.server.guard import StartGuard

HALF_STARTED = """
import subprocess, sys, time
from opensandbox_jupyter.server.guard import StartGuard
guard = StartGuard()
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, **guard.membership())
if sys.argv[1] == "dismissed":
    guard.dismiss()
    guard.close()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("when", "lives"), [("watched", False), ("dismissed", True)])
def test_a_killed_server_takes_a_half_made_sandbox_with_it(when: str, lives: bool) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", HALF_STARTED, when], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    child = psutil.Process(int(server.stdout.readline()))
    server.kill()
    server.wait()
    server.stdout.close()

    gone = wait_until(lambda: not child.is_running(), 1 if lives else 10)

    assert gone is not lives
    if lives:
        child.kill()


def test_a_start_that_fails_ends_what_it_had_begun() -> None:
    guard = StartGuard()
    child = subprocess.Popen(["sleep", "600"], **guard.membership())

    guard.close()

    assert child.wait(10) == -9
