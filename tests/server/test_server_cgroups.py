"""Control groups of version 2: by the kernel's own where this machine has it, else by its files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensandbox_jupyter.server import cgroups
from opensandbox_jupyter.server.cgroups import Cgroups, Group, Limits

FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.freeze", "cgroup.kill", "cpu.max",
         "memory.max", "memory.swap.max", "memory.oom.group", "pids.max")  # fmt: skip


@pytest.fixture
def real() -> Iterator[Path]:
    """A group of the real version 2, whatever controllers it has."""
    mounts = [path for kind, _, path, _ in cgroups._mounts() if kind == "cgroup2"]
    base = mounts[0] / f"opensandbox-tests-{os.getpid()}" if mounts else None
    if base is None or not cgroups._can_make(base):
        pytest.skip("no cgroup2 in which groups can be made")
    yield base
    base.rmdir()


def test_freezing_thawing_and_killing_for_real(real: Path) -> None:
    group = Cgroups(2, {"freezer": real}).make("one", Limits())
    script = "while :; do echo x; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        group.add(process.pid)
        assert process.stdout.read(2) == b"x\n"
        assert group.can_freeze and group.freeze()
        state = Path(f"/proc/{process.pid}/cgroup").read_text(encoding="ascii")
        assert f"/{real.name}/one" in state
        group.thaw()
        assert not group._is_frozen()
        assert len(process.stdout.read(200_000)) == 200_000
        assert group.freeze()
        group.remove()  # what stands still is ended, too
        assert process.wait(5) == -9
    assert not (real / "one").exists()


def test_a_sweep_ends_what_an_earlier_server_left(real: Path) -> None:
    groups = Cgroups(2, {"freezer": real})
    left = groups.make("left", Limits())
    with subprocess.Popen(["sleep", "600"]) as process:
        left.add(process.pid)
        groups.sweep()
        assert process.wait(5) == -9
    assert not (real / "left").exists()


def test_limits_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("?", encoding="ascii")
    group = Group(2, dict.fromkeys(("cpu", "memory", "pids", "freezer"), tmp_path))

    def read(name: str) -> str:
        return (tmp_path / name).read_text(encoding="ascii")

    group.set_limits(Limits(cpu=0.5, memory=512 << 20, pids=100))
    assert read("cpu.max") == "50000 100000"
    assert read("memory.max") == str(512 << 20)
    assert (read("memory.swap.max"), read("pids.max")) == ("0", "100")
    group.set_limits(Limits())
    assert (read("cpu.max"), read("memory.max"), read("pids.max")) == ("max", "max", "4096")
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 3\n", encoding="ascii")
    assert group.out_of_memory_kills() == 3


class FakeKernel:
    """A tree that behaves as version 2 does where places are looked for."""

    def __init__(
        self, top: Path, offered: dict[str, str], busy: set[str], closed: set[str]
    ) -> None:
        self.top, self.offered, self.busy, self.closed = top, offered, busy, closed

    def can_make(self, path: Path) -> bool:
        if str(path.parent.relative_to(self.top)) in self.closed:
            return False
        path.mkdir(exist_ok=True)
        for name in FILES:
            (path / name).touch()
        return True

    def enable(self, candidate: Path, base: Path) -> set[str]:
        name = str(candidate.relative_to(self.top))
        return set() if name in self.busy else set(self.offered.get(name, "").split())


SCOPE = "user.slice/user-1000.slice/user@1000.service/app.slice/jupyter.scope"
APP = str(Path(SCOPE).parent)
USER = str(Path(APP).parent)
EVERYWHERE = {SCOPE, *map(str, Path(SCOPE).parents)}


@pytest.mark.parametrize(
    ("euid", "closed", "may_move", "found", "can"),
    [
        (1000, set(), True, APP, {"memory", "pids", "freezer"}),
        (1000, {APP}, True, USER, {"memory", "pids", "cpu", "freezer"}),
        (1000, set(), False, None, set()),
        (
            1000,
            {SCOPE, APP, USER, ".", "user.slice", "user.slice/user-1000.slice"},
            True,
            None,
            set(),
        ),
        (0, set(), True, ".", {"memory", "pids", "cpu", "freezer"}),
    ],
    ids=["desktop", "closed slice", "a session from elsewhere", "nothing delegated", "root"],
)
def test_where_groups_are_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    euid: int,
    closed: set[str],
    may_move: bool,
    found: str | None,
    can: set[str],
) -> None:
    (tmp_path / SCOPE).mkdir(parents=True)
    all_ = "cpu memory pids"
    offered = {SCOPE: all_, APP: "memory pids", USER: all_, ".": all_}
    kernel = FakeKernel(tmp_path, offered, busy={SCOPE}, closed=closed)
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(cgroups, "_can_make", kernel.can_make)
    monkeypatch.setattr(cgroups, "_enable", kernel.enable)
    monkeypatch.setattr(cgroups, "_can_hold", lambda _: may_move)

    groups = cgroups._detect_unified(tmp_path / SCOPE, tmp_path, "ours")

    assert (groups is None) == (found is None)
    if groups is not None and found is not None:
        assert set(groups.bases) == can
        assert set(groups.bases.values()) == {tmp_path / found / "ours"}
