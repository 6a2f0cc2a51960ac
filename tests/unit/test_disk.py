"""How much of the disk a sandbox's files take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from opensandbox_jupyter.server.space import size_of_tree


def test_nothing_is_too_deep_to_be_counted(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_PATH)
    for _ in range(300):
        os.mkdir("d" * 100, dir_fd=here)
        here, above = os.open("d" * 100, os.O_PATH, dir_fd=here), here
        os.close(above)
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, b"x" * 5_000_000)
    os.close(file)
    os.close(here)
    assert 5_000_000 <= size_of_tree(tmp_path) < 10_000_000
    shutil.rmtree(tmp_path)


def test_links_are_not_followed_and_hard_links_counted_once(tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to("/usr")
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    for number in range(20):
        os.link(tmp_path / "file", tmp_path / str(number))
    assert 1_000_000 <= size_of_tree(tmp_path) < 2_000_000
    (tmp_path / "link").symlink_to(tmp_path / "away")
    assert size_of_tree(tmp_path / "link") < 100_000


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert size_of_tree(tmp_path / "gone") == 0
