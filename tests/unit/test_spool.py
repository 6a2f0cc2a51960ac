"""The whole output of a run, on disk: private, bounded, streams told apart."""

from __future__ import annotations

import random
import stat
import subprocess
import sys
from pathlib import Path

from opensandbox_jupyter.magics.spool import Spool, Spools


def test_both_streams_come_back_in_order_and_apart(tmp_path: Path) -> None:
    dice = random.Random(3)
    spool = Spool(tmp_path / "1.log", 1 << 20)
    written = [(f"é{n}\n" * dice.randrange(3), dice.random() < 0.5) for n in range(500)]
    for text, is_error in written:
        spool.write(text, is_error)
    everything = "".join(text for text, _ in written)
    for _ in range(2):  # while it is open, and after
        assert spool.read(1 << 20) == everything
        for stream in (False, True):
            kept = "".join(text for text, is_error in written if is_error is stream)
            assert spool.read(1 << 20, is_error=stream) == kept
        assert "".join(text for text, _ in spool.pieces()) == everything
        with spool.open() as file:
            assert file.read() == everything
        spool.close()


def test_reading_is_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.log", 1 << 20)
    spool.write("x" * 100_000)
    assert spool.read(1000) == "x" * 1000


def test_nothing_is_readable_for_others(tmp_path: Path) -> None:
    spools = Spools(tmp_path / "runs")
    spools.spool(1).write("secret")
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) == 0o700
    assert stat.S_IMODE(spools.folder.stat().st_mode) == 0o700
    for path in spools.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_run_is_capped_with_a_marker_and_still_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.log", 1000)
    assert sum(spool.write("0123456789" * 10) for _ in range(50)) == 5000
    text = spool.read(1 << 20)
    assert text.startswith("0123456789" * 100 + "\n[the rest was not kept")
    assert spool.path.stat().st_size < 1200
    assert spool.full


def test_surrogates_do_not_stop_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.log", 1000)
    spool.write("a\ud800b")
    assert spool.read(100) == "a\\ud800b"


def test_an_empty_run_can_be_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.log", 1000)
    assert (spool.read(10), spool.read(10, is_error=True), list(spool.pieces())) == ("", "", [])


def test_old_sessions_make_room_but_living_ones_stay(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    dead = Spools(root)
    dead.spool(1).write("x" * 5000)
    dead.close()
    alive = Spools(root)
    alive.spool(1).write("y" * 5000)
    alive.spool(1 + 1)  # flushes nothing; the lock is what counts
    fresh = Spools(root, quota=1000)
    assert not dead.folder.exists()
    assert alive.folder.exists()
    assert fresh.folder.exists()


def test_a_session_that_was_killed_does_not_keep_its_lock(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    program = (
        "import os, sys; from pathlib import Path\n"
        "from opensandbox_jupyter.magics.spool import Spools\n"
        "s = Spools(Path(sys.argv[1])); p = s.spool(1); p.write('x' * 5000); p.flush()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(root)], check=False)
    assert [p.name for p in root.glob("*/1.log")] == ["1.log"]
    Spools(root, quota=1000)
    assert not list(root.glob("*/1.log"))


def test_old_runs_of_a_long_session_make_room(tmp_path: Path) -> None:
    spools = Spools(tmp_path / "runs", quota=10_000)
    for number in range(1, 11):
        spool = spools.spool(number)
        spool.write("x" * 2000)
        spool.close()
    kept = sorted(int(p.stem) for p in spools.folder.glob("*.log"))
    assert kept[-1] == 10
    assert 1 not in kept
    assert sum(p.stat().st_size for p in spools.folder.glob("*.log")) <= 12_000


def test_a_session_without_runs_leaves_nothing_behind(tmp_path: Path) -> None:
    spools = Spools(tmp_path / "runs")
    spools.close()
    assert not spools.folder.exists()
