"""What is said of files, and moving, deleting, changing and searching them."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
from execd_driving import Daemon


async def test_info(client: httpx.AsyncClient, workspace: Path) -> None:
    file = workspace / "info.txt"
    file.write_text("12345")
    file.chmod(0o751)
    (workspace / "info-link").symlink_to("info.txt")
    (workspace / "info-dir").mkdir()
    os.mkfifo(workspace / "info-fifo")
    asked = [str(file), "info-link", "~/workspace/info-dir", "info-fifo"]
    answer = await client.get("/files/info", params={"path": asked})
    assert answer.status_code == 200
    found = answer.json()
    assert list(found) == asked
    assert [found[name]["type"] for name in asked] == ["file", "symlink", "directory", "other"]
    info = found[str(file)]
    assert (info["path"], info["size"], info["mode"]) == (str(file), 5, 751)
    assert found["info-link"]["path"] == str(workspace / "info-link")
    assert info["owner"] == file.owner()
    assert info["group"] == file.group()
    modified = datetime.fromisoformat(info["modified_at"].replace("Z", "+00:00"))
    age = datetime.now(timezone.utc) - modified
    assert 0 <= age.total_seconds() < 60


async def test_info_of_nothing_and_of_what_is_missing(client: httpx.AsyncClient) -> None:
    assert (await client.get("/files/info")).json() == {}
    answer = await client.get("/files/info", params={"path": ["/etc/passwd", "/no/such"]})
    assert (answer.status_code, answer.json()["code"]) == (404, "FILE_NOT_FOUND")
    assert "/no/such" in answer.json()["message"]


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000, "/etc/passwd/x"])
async def test_paths_that_cannot_be(client: httpx.AsyncClient, path: str) -> None:
    for method, url in (("GET", "/files/info"), ("GET", "/files/download")):
        answer = await client.request(method, url, params={"path": path})
        assert answer.status_code == 400, url
        assert answer.json()["message"]


async def test_delete(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "one").write_text("1")
    (workspace / "two").symlink_to("/etc/passwd")
    answer = await client.delete("/files", params={"path": ["one", "two", "three"]})
    assert (answer.status_code, answer.content) == (200, b"")
    assert not os.path.lexists(workspace / "one")
    assert not os.path.lexists(workspace / "two")
    assert os.path.exists("/etc/passwd")
    (workspace / "delete-dir").mkdir()
    answer = await client.delete("/files", params={"path": "delete-dir"})
    assert answer.status_code == 400
    assert (workspace / "delete-dir").is_dir()


async def test_modes_are_octal_digits_in_a_decimal_number(
    client: httpx.AsyncClient, workspace: Path
) -> None:
    file = workspace / "modes"
    file.touch(0o600)
    for mode, expected in ((755, 0o755), (640, 0o640), (0, 0o640), (4755, 0o755), (7, 0o7)):
        answer = await client.post("/files/permissions", json={"modes": {"mode": mode}})
        assert answer.status_code == 200
        assert stat.S_IMODE(file.stat().st_mode) == expected
        info = (await client.get("/files/info", params={"path": "modes"})).json()["modes"]
        assert info["mode"] == (mode % 1000 or 640)
    for mode in (493, 8, 99999, -7):
        answer = await client.post("/files/permissions", json={"modes": {"mode": mode}})
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_owners_are_names(client: httpx.AsyncClient, workspace: Path) -> None:
    file = workspace / "owned"
    file.touch()
    body = {"owned": {"owner": file.owner(), "group": file.group(), "mode": 600}}
    assert (await client.post("/files/permissions", json=body)).status_code == 200
    body = {"owned": {"owner": "nobody-of-that-name", "mode": 600}}
    answer = await client.post("/files/permissions", json=body)
    assert answer.status_code == 400
    assert "nobody-of-that-name" in answer.json()["message"]
    answer = await client.post("/files/permissions", json={"missing": {"mode": 600}})
    assert (answer.status_code, answer.json()["code"]) == (404, "FILE_NOT_FOUND")


async def test_move(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "from").write_text("moved")
    body = [{"src": "from", "dest": "new/parent/to"}]
    assert (await client.post("/files/mv", json=body)).status_code == 200
    assert (workspace / "new/parent/to").read_text() == "moved"
    answer = await client.post("/files/mv", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "FILE_NOT_FOUND")
    (workspace / "from").write_text("again")
    answer = await client.post("/files/mv", json=body)
    assert answer.status_code == 400
    assert (workspace / "new/parent/to").read_text() == "moved"
    assert (workspace / "from").read_text() == "again"


async def test_move_a_directory(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "tree/inner").mkdir(parents=True)
    (workspace / "tree/inner/file").write_text("x")
    body = [{"src": "tree", "dest": "forest"}]
    assert (await client.post("/files/mv", json=body)).status_code == 200
    assert (workspace / "forest/inner/file").read_text() == "x"


async def test_replace(client: httpx.AsyncClient, workspace: Path) -> None:
    file = workspace / "text"
    file.write_bytes("a.b.a ☃ \r\na\xff".encode() + b"\xff")
    file.chmod(0o640)
    body = {"text": {"old": "a", "new": "ä$1\\1"}}
    answer = await client.post("/files/replace", json=body, params={"verbose": "false"})
    assert (answer.status_code, answer.content) == (200, b"{}")
    changed = "ä$1\\1.b.ä$1\\1 ☃ \r\nä$1\\1\xff".encode() + b"\xff"
    assert file.read_bytes() == changed
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    answer = await client.post("/files/replace", json=body, params={"verbose": "true"})
    assert answer.json() == {"text": {"replacedCount": 0}}
    body = {"text": {"old": ".", "new": ""}}
    answer = await client.post("/files/replace", json=body, params={"verbose": "true"})
    assert answer.json() == {"text": {"replacedCount": 2}}


async def test_replacements_that_cannot_be(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "kept").write_text("abc")
    for body, status in (
        ({"kept": {"old": "", "new": "x"}}, 400),
        ({"missing": {"old": "a", "new": "x"}}, 404),
        ({".": {"old": "a", "new": "x"}}, 400),
        ({"kept": {"old": "a"}}, 400),
    ):
        answer = await client.post("/files/replace", json=body)
        assert answer.status_code == status
        assert answer.json()["code"]
    assert (workspace / "kept").read_text() == "abc"


@pytest.fixture
def forest(daemon: Daemon) -> Path:
    root = daemon.workspace / "search"
    if not root.exists():
        for name in ("a.py", "b.txt", "src/c.py", "src/deep/d.py", "src/[x].md", "lib/e.PY", ".h"):
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (root / "link.py").symlink_to("/etc/passwd")
        (root / "loop").symlink_to(".")
    return root


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (None, ".h a.py b.txt lib/e.PY link.py loop src/[x].md src/c.py src/deep/d.py"),
        ("**", ".h a.py b.txt lib/e.PY link.py loop src/[x].md src/c.py src/deep/d.py"),
        ("*", ".h a.py b.txt lib/e.PY link.py loop src/[x].md src/c.py src/deep/d.py"),
        ("*.py", "a.py link.py src/c.py src/deep/d.py"),
        ("?.py", "a.py src/c.py src/deep/d.py"),
        ("[a-c].*", "a.py b.txt src/c.py"),
        ("[!a-c].*", "lib/e.PY src/deep/d.py"),
        ("[^a-c].*", "lib/e.PY src/deep/d.py"),
        ("{a,d}.py", "a.py src/deep/d.py"),
        ("*.{py,{txt,md}}", "a.py b.txt link.py src/[x].md src/c.py src/deep/d.py"),
        ("!*.py", ".h b.txt lib/e.PY loop src/[x].md"),
        (r"\[x\].md", "src/[x].md"),
        ("src/*.py", "src/c.py"),
        ("src/**/*.py", "src/c.py src/deep/d.py"),
        ("**/*.py", "a.py link.py src/c.py src/deep/d.py"),
        ("src/**", "src/[x].md src/c.py src/deep/d.py"),
        ("./src/*.py", "src/c.py"),
        ("{src,lib}/*.{py,PY}", "lib/e.PY src/c.py"),
        ("nothing", ""),
        ("a.py/", ""),
    ],
)
async def test_search(
    client: httpx.AsyncClient, forest: Path, pattern: str | None, names: str
) -> None:
    params = {"path": str(forest)} | ({} if pattern is None else {"pattern": pattern})
    answer = await client.get("/files/search", params=params)
    assert answer.status_code == 200
    found = [os.path.relpath(entry["path"], forest) for entry in answer.json()]
    assert found == names.split()


@pytest.mark.parametrize("pattern", ["{a,b", "x" * 2000, "{a,b}" * 12])
async def test_patterns_that_cannot_be(client: httpx.AsyncClient, pattern: str) -> None:
    answer = await client.get("/files/search", params={"path": "/etc", "pattern": pattern})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_patterns_made_to_take_for_ever(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "hard").mkdir()
    (workspace / "hard" / ("a" * 250)).touch()
    for pattern in ("*a" * 100 + "b", "**/" * 100 + "b", "[" * 100):
        params = {"path": str(workspace / "hard"), "pattern": pattern}
        assert (await client.get("/files/search", params=params)).json() == []


async def test_search_of_what_is_not_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/files/search", params={"path": "/no/such"})
    assert (answer.status_code, answer.json()["code"]) == (404, "FILE_NOT_FOUND")
    answer = await client.get("/files/search", params={"path": "/etc/passwd"})
    assert answer.status_code == 400


async def test_names_that_are_not_text(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "odd").mkdir()
    open(os.fsencode(workspace / "odd") + b"/\xff\xfe", "w").close()
    (workspace / "odd" / "new\nline\u2028").touch()
    answer = await client.get("/files/search", params={"path": str(workspace / "odd")})
    names = {os.path.basename(entry["path"]) for entry in answer.json()}
    assert names == {"\ufffd\ufffd", "new\nline\u2028"}
