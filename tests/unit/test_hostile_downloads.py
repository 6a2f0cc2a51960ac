"""Downloads from a sandbox that lies about names, sizes and kinds never leave their folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from opensandbox_jupyter.config import ConnectionConfigSync
from opensandbox_jupyter.exceptions import SandboxException, TransferException
from opensandbox_jupyter.local_files import safe
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.sync.files import FilesSync
from opensandbox_jupyter.wire.base import Origin

Answer = Callable[[httpx.Request], httpx.Response]


def entry(path: str, kind: str = "file", size: int = 4) -> dict[str, Any]:
    moment = "2026-01-02T03:04:05Z"
    times = {"modified_at": moment, "created_at": moment}
    who = {"owner": "", "group": ""}
    return {"path": path, "type": kind, "size": size, "mode": 777, **who, **times}


def files_of(listings: dict[str, list[dict[str, Any]]], content: bytes = b"evil") -> FilesSync:
    """Return the files of a sandbox that answers as it likes, and has no ``sha256sum``."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.params.get("path", "")
        if request.url.path == "/files/info":
            known = entry(path, "directory") if path in listings else entry(path)
            return httpx.Response(200, json={path: known})
        if request.url.path == "/directories/list":
            return httpx.Response(200, content=json.dumps(listings.get(path, [])).encode())
        if request.url.path == "/files/download":
            return httpx.Response(200, content=content)
        return httpx.Response(500)

    config = ConnectionConfigSync(domain="x", transport=httpx.MockTransport(answer))
    connection = ConnectionSync.open(config)
    return FilesSync(connection, Origin("http://x"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder within a folder that must stay as it is."""
    return tmp_path / "outer" / "inner"


def below(place: Path) -> list[str]:
    outer = place.parent
    return sorted(str(p.relative_to(outer)) for p in outer.rglob("*"))


NAMES = ["..", ".", "", "a\x00b", "a\nb", "\x1b[2Jx", "a" * 300, "bad\ufffdname"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_is_left_out(place: Path, name: str) -> None:
    files = files_of({"/d": [entry(f"/d/{name}"), entry("/d/good")]})

    done = files.download("/d", place)

    assert below(place) == ["inner", "inner/good"]
    assert len(done.skipped) == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "/d/../../up", "../../up", "/d/x/../../up"])
def test_a_path_from_elsewhere_lands_inside(place: Path, path: str) -> None:
    files_of({"/d": [entry(path)]}).download("/d", place)

    assert below(place) == ["inner", f"inner/{path.rsplit('/', 1)[-1]}"]


def test_a_link_that_lies_here_is_not_followed(place: Path) -> None:
    place.mkdir(parents=True)
    (place.parent / "precious").mkdir()
    (place / "sub").symlink_to(place.parent / "precious")
    (place / "file").symlink_to(place.parent / "precious" / "file")
    listings = {"/d": [entry("/d/sub", "directory"), entry("/d/file")], "/d/sub": [entry("/s")]}

    done = files_of(listings).download("/d", place)

    assert done.skipped == ["/d/sub"]
    assert list((place.parent / "precious").iterdir()) == []
    assert (place / "file").read_bytes() == b"evil"
    assert not (place / "file").is_symlink()


def test_one_name_for_a_link_and_a_folder_is_one_thing(place: Path) -> None:
    twice = [entry("/d/a", "symlink"), entry("/d/a", "directory"), entry("/d/a")]

    assert files_of({"/d": twice}).download("/d", place).skipped == ["/d/a"] * 3
    assert below(place) == ["inner"]


@pytest.mark.parametrize("content", [b"", b"evi", b"evil and more"])
def test_more_or_less_than_was_said_is_refused(place: Path, content: bytes) -> None:
    with pytest.raises(TransferException, match="became"):
        files_of({"/d": [entry("/d/a")]}, content).download("/d", place)

    assert below(place) == ["inner"]


def test_a_tree_without_an_end_is_left(place: Path) -> None:
    class Endless(dict[str, list[dict[str, Any]]]):
        def __contains__(self, key: object) -> bool:
            return True

        def get(self, key: str, default: Any = None) -> Any:
            return [entry("/x/d", "directory")]

    with pytest.raises(SandboxException, match="deeper"):
        files_of(Endless()).download("/d", place)


def test_too_many_entries_are_refused(place: Path) -> None:
    many = [entry(f"/d/{number}") for number in range(100_001)]

    with pytest.raises(TransferException, match="more than 100000"):
        files_of({"/d": many}).download("/d", place)


def test_names_of_people_are_fine() -> None:
    assert all(safe(name) for name in ("a b", "grüße", "-rf", "...", "a\\b", "🙂", "x" * 255))
