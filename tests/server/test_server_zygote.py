"""The process that every execd is a copy of: what it hides, its end, and how it goes without."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import server_driving
from server_driving import (
    PACKAGE,
    Box,
    Running,
    assert_nothing_left,
    body,
    create_box,
    processes_of,
    start,
    wait_until,
)

UIDS = [pytest.param(os.geteuid(), id="own"), pytest.param(23_456, id="ordinary")]


def zygotes(running: Running) -> list[psutil.Process]:
    children = psutil.Process(running.process.pid).children()
    return [child for child in children if child.name() == "execd"]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(params=UIDS)
def running(request: pytest.FixtureRequest, make_home: Callable[[int], Path]) -> Iterator[Running]:
    running = start(make_home(request.param), request.param)
    yield running
    running.stop()
    assert_nothing_left(running.home)


def test_every_execd_is_a_copy_of_one_process(running: Running) -> None:
    with running.client() as client:
        boxes = [create_box(client) for _ in range(3)]
        (zygote,) = zygotes(running)
        copies = [p for p in processes_of(running.home) if p.name() == "execd"]
        assert len(copies) == len(boxes) and zygote not in copies
        assert {copy.parent().name() for copy in copies} == {"bwrap"}  # the first process inside
        assert wait_until(lambda: not zygote.children())
    running.stop()
    assert is_gone(zygote)


def test_it_shows_nothing_of_the_host(running: Running) -> None:
    with running.client() as client:
        box = create_box(client)
        shown = box.output("cat /proc/[0-9]*/cmdline /proc/[0-9]*/comm | tr '\\0' ' '")
        assert "execd" in shown
        for place in (str(running.home), os.environ["XDG_CACHE_HOME"], str(Path.home())):
            assert place not in shown
        assert box.output("ps -o ppid=,args= -C execd").split() == ["1", "execd"]
        code = "import opensandbox_jupyter, sys; print(sys.path, opensandbox_jupyter.__file__)"
        assert box.run(f"python3 -c '{code}'")[0] != 0


def test_it_dies_and_sandboxes_live(running: Running) -> None:
    with running.client() as client:
        box = create_box(client)
        (zygote,) = zygotes(running)
        zygote.kill()
        assert box.output("echo here") == "here"
        other = create_box(client)
        assert other.output("echo here") == "here"
        (another,) = zygotes(running)
        assert another != zygote
        assert box.now()["status"]["state"] == "Running"
        assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204


def test_it_ends_with_a_server_that_is_killed(running: Running) -> None:
    with running.client() as client:
        create_box(client)
    (zygote,) = zygotes(running)
    running.kill()
    assert wait_until(lambda: is_gone(zygote))


BROKEN = """
from opensandbox_jupyter.server import provision, zygote
given = provision.zygote_command()
zygote.zygote_command = lambda: {command}
"""
WAYS = {
    "it dies": '("/bin/false",)',
    "it may not enter": '("setpriv", "--bounding-set=-sys_admin", *given)',
}


def is_confined(box: Box) -> bool:
    lines = box.output("cat /proc/1/status /proc/self/status").splitlines()
    bounds = [int(line.split()[1], 16) for line in lines if line.startswith("CapBnd")]
    filters = [line.split()[1] for line in lines if line.startswith("Seccomp:")]
    return bounds[-1] == 0 and filters == ["2", "2"]


@pytest.mark.parametrize("way", WAYS)
def test_where_it_cannot_work_sandboxes_start_without_it(
    make_home: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "it may not enter" and os.geteuid() != 0:
        pytest.skip("only root can be kept from it")
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(command=WAYS[way]))
    monkeypatch.setattr(server_driving, "PACKAGE", f"{tmp_path}{os.pathsep}{PACKAGE}")
    running = start(make_home(os.geteuid()))
    with running.client() as client:
        for _ in range(2):
            assert is_confined(create_box(client))
        nesting = body(extensions={"bootstrap.execd.isolation": "enable"})
        answer = client.post("/v1/sandboxes", json=nesting)
        if way == "it dies":  # it may be well next time
            assert answer.status_code == 503 and "Try again" in answer.text
        else:
            box = Box(client, answer.json())
            assert is_confined(box)
            with box.execd() as execd:
                wanted = {"workspace": {"path": "/workspace"}}
                assert execd.post("/v1/isolated/session", json=wanted).status_code == 503
        assert not any(process.name() == "execd" for process in processes_of(running.home))
    assert "without the zygote" in (running.home / "stderr").read_text()
    running.stop()
    assert_nothing_left(running.home)


def test_ordinary_names_and_signals_do_not_end_a_sandbox(running: Running) -> None:
    with running.client() as client:
        box = create_box(client)
        box.run("pkill -x sleep; pkill -x sh; pkill -TERM -x sandbox; pkill -CONT -x sandbox")
        client.post(f"/v1/sandboxes/{box.id}/pause")
        client.post(f"/v1/sandboxes/{box.id}/resume")
        assert box.output("ps -o args= -C sandbox").startswith("/bin/sh")


def test_limits_bind_all_that_is_there(running: Running) -> None:
    with running.client() as client:
        limits = create_box(client).output("grep -h 'core file' /proc/[0-9]*/limits").splitlines()
        assert len(limits) > 3
        assert {tuple(line.split()[-3:-1]) for line in limits} == {("1", "1")}


WATCHER = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    FILE *told = fopen("/workspace/told", "a");
    for (int round = 0; round < 20000; round++)
        for (int pid = 1; pid < 30; pid++) {
            char path[64], line[256], name[64] = "", caps[64] = "", filter[8] = "";
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d/status", pid);
            FILE *status = fopen(path, "r");
            if (!status) continue;
            while (fgets(line, sizeof line, status)) {
                sscanf(line, "Name: %63s", name);
                sscanf(line, "CapPrm: %63s", caps);
                sscanf(line, "Seccomp: %7s", filter);
            }
            fclose(status);
            if (!strcmp(name, "execd") && (strtoull(caps, 0, 16) || *filter != '2'))
                fprintf(told, "bare %d %s %s\\n", pid, caps, filter);
            snprintf(path, sizeof path, "/proc/%d/mem", pid);
            int memory = strcmp(name, "execd") ? -1 : open(path, O_RDWR);
            if (memory >= 0) fprintf(told, "opened %d\\n", pid);
            close(memory);
            if (!round) fprintf(told, "saw %s\\n", name);
            fflush(told);
        }
    for (;;) pause();
}
"""


def told(box: Box) -> str:
    with box.execd() as execd:
        return execd.get("/files/download?path=/workspace/told").text


def saw_execd(box: Box) -> bool:
    return "saw execd" in told(box)


@pytest.mark.parametrize("uid", UIDS)
def test_what_the_owner_left_in_the_files_meets_a_finished_execd(
    make_home: Callable[[int], Path], uid: int
) -> None:
    """The holder is the sandbox's own /bin/sh: after a restart it may be anything."""
    if shutil.which("cc") is None:
        pytest.skip("no compiler on this machine")
    home = make_home(uid)
    first = start(home, uid)
    with first.client() as client:
        box = create_box(client)
        box.output(f"cat >watcher.c <<'E'\n{WATCHER}\nE\ncc -static -o watcher watcher.c")
        box.output("rm /bin && mkdir /bin && cp watcher /bin/sh")
    first.stop()
    for _ in range(3):
        again = start(home, uid)
        with again.client() as client:
            box = Box(client, box.info)
            assert wait_until(partial(saw_execd, box))
            assert not re.search("bare|opened", told(box)), told(box)
            box.output("rm told")  # the next one begins another
        again.stop()
