"""What runs inside every sandbox is copied once, compiled, and shared by the servers of a user."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opensandbox_jupyter.server.library import Library


@contextmanager
def opened(cache: Path) -> Iterator[Path]:
    library = Library(cache)
    try:
        yield library.path()
    finally:
        library.close()


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is there already, so that no test waits for a copy of its own."""
    home = Path(os.environ["XDG_CACHE_HOME"], "of-tests")
    with opened(home) as path:
        deadline = time.monotonic() + 120
        while not (path / ".compiled").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    copy = tmp_path_factory.mktemp("cache") / "copy"
    shutil.copytree(home, copy)
    return copy


def test_it_is_whole_compiled_and_readable_by_others(cache: Path) -> None:
    umask = os.umask(0o077)
    try:
        with opened(cache) as path:
            shutil.rmtree(path)
        with opened(cache) as path:
            execd = path / "opensandbox_jupyter/execd"
            compiled = {file.stem.split(".")[0] for file in execd.glob("__pycache__/*.pyc")}
            assert {"app", "commands", "files"} <= compiled
            assert not (path / "opensandbox_jupyter/server").exists()
            assert (path / ".proc").is_dir()
            modes = {file.stat().st_mode & 0o777 for file in path.rglob("*.py")}
            assert modes == {0o644}
            assert (path.stat().st_mode & 0o777, execd.stat().st_mode & 0o777) == (0o755, 0o755)
    finally:
        os.umask(umask)


def test_it_is_made_once(cache: Path) -> None:
    with opened(cache) as path:
        mark = path / "mark"
        mark.touch()
    with opened(cache) as again:
        assert again == path
        assert mark.exists()


def test_what_is_out_of_date_goes_when_no_server_holds_it(cache: Path) -> None:
    with opened(cache) as path:
        held, free, young = (path.with_name(name) for name in ("held", "free", "young"))
    for old in (held, free, young):
        (old / "below").mkdir(parents=True)
    for old in (held, free):
        os.utime(old, (0, 0))
    keeper = Library(cache)
    assert keeper._hold(held)
    with opened(cache):
        assert (held.exists(), free.exists(), young.exists()) == (True, False, True)
    keeper.close()
    with opened(cache):
        assert not held.exists()


def test_a_disk_that_refuses_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("opensandbox_jupyter.server.library._copy", full)
    library = Library(tmp_path / "new")
    with pytest.raises(OSError, match="No space"):
        library.path()
    assert list((tmp_path / "new/library").iterdir()) == []
    monkeypatch.undo()
    assert (library.path() / "opensandbox_jupyter/execd/app.py").exists()
    library.close()
