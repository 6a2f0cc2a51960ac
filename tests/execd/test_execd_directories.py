"""Listing, making and removing directories."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import httpx
import pytest


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (None, "a b c"),
        ("1", "a b c"),
        ("0", ""),
        ("2", "a a/x a/y b c"),
        ("9", "a a/x a/x/1 a/y b c"),
    ],
)
async def test_list(
    client: httpx.AsyncClient, workspace: Path, depth: str | None, names: str
) -> None:
    root = workspace / "list"
    (root / "a/x/1").mkdir(parents=True, exist_ok=True)
    (root / "a/y").touch()
    (root / "b").touch()
    if not (root / "c").is_symlink():
        (root / "c").symlink_to("a")
    params = {"path": "list"} | ({} if depth is None else {"depth": depth})
    answer = await client.get("/directories/list", params=params)
    assert answer.status_code == 200
    assert [os.path.relpath(entry["path"], root) for entry in answer.json()] == names.split()
    types = {os.path.basename(entry["path"]): entry["type"] for entry in answer.json()}
    assert not names or (types["a"], types["b"], types["c"]) == ("directory", "file", "symlink")


async def test_lists_that_cannot_be(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "to-etc").symlink_to("/etc")
    for query, status in (
        ("path=/no/such", 404),
        ("path=/etc/passwd", 400),
        ("path=to-etc", 400),
        ("path=/etc&depth=-1", 400),
        ("path=/etc&depth=x", 400),
        ("", 400),
    ):
        answer = await client.get(f"/directories/list?{query}")
        assert answer.status_code == status, query
        assert answer.json()["code"]


async def test_many_files(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "crowd").mkdir()
    for n in range(10_000):
        (workspace / f"crowd/{n:05}").touch()
    found = (await client.get("/directories/list", params={"path": "crowd"})).json()
    assert [os.path.basename(entry["path"]) for entry in found] == [
        f"{n:05}" for n in range(10_000)
    ]


async def test_make(client: httpx.AsyncClient, workspace: Path) -> None:
    body = {"new/leaf": {"mode": 700, "owner": None, "group": None}, "plain": {}}
    assert (await client.post("/directories", json=body)).status_code == 200
    assert stat.S_IMODE((workspace / "new/leaf").stat().st_mode) == 0o700
    assert stat.S_IMODE((workspace / "new").stat().st_mode) == 0o755
    assert stat.S_IMODE((workspace / "plain").stat().st_mode) == 0o755
    body = {"new/leaf": {"mode": 755}}
    assert (await client.post("/directories", json=body)).status_code == 200
    assert stat.S_IMODE((workspace / "new/leaf").stat().st_mode) == 0o700


async def test_directories_that_cannot_be(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "a-file").touch()
    bodies: list[object] = [
        {"a-file": {}},
        {"a-file/below": {}},
        {"odd": {"mode": 888}},
        {"": {}},
        [],
        {"x": 1},
    ]
    for body in bodies:
        answer = await client.post("/directories", json=body)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["message"]
    assert not (workspace / "odd").exists()


async def test_remove(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "outside").mkdir()
    (workspace / "outside/kept").touch()
    (workspace / "tree/a/b").mkdir(parents=True)
    (workspace / "tree/a/b/file").touch()
    (workspace / "tree/link").symlink_to("../outside")
    (workspace / "tree/locked").mkdir()
    (workspace / "tree/locked/file").touch()
    (workspace / "tree/locked").chmod(0)
    params = {"path": ["tree", "missing", "tree/a"]}
    answer = await client.delete("/directories", params=params)
    assert (answer.status_code, answer.content) == (200, b"")
    assert not (workspace / "tree").exists()
    assert (workspace / "outside/kept").exists()


async def test_remove_what_is_very_deep(client: httpx.AsyncClient, workspace: Path) -> None:
    os.mkdir(workspace / "deep")
    place = os.open(workspace / "deep", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("e", dir_fd=place)
        os.mkdir("d", dir_fd=place)
        deeper = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    answer = await client.delete("/directories", params={"path": "deep"})
    assert answer.status_code == 200, answer.text
    assert not os.path.lexists(workspace / "deep")
