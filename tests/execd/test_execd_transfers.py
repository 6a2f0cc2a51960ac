"""Uploads and downloads: every byte, whatever their size, names, order and ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import psutil
import pytest
from execd_driving import Daemon, eventually


def pair(path: str, content: bytes, **more: object) -> list[tuple[str, Any]]:
    metadata = json.dumps({"path": path, **more})
    return [
        ("metadata", ("metadata", metadata, "application/json")),
        ("file", (os.path.basename(path) or "x", content, "application/octet-stream")),
    ]


async def upload(client: httpx.AsyncClient, *pairs: list[tuple[str, Any]]) -> httpx.Response:
    return await client.post("/files/upload", files=[part for each in pairs for part in each])


def left_over(workspace: Path) -> list[str]:
    return [name for name in os.listdir(workspace) if name.startswith(".upload-")]


async def test_upload_and_download(client: httpx.AsyncClient, workspace: Path) -> None:
    content = os.urandom(3_000_001) + b"\r\n--B--\r\n" + b"\r\n" * 1000
    answer = await upload(client, pair("deep/er/file.bin", content, mode=755, owner=None))
    assert (answer.status_code, answer.content) == (200, b"")
    file = workspace / "deep/er/file.bin"
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    answer = await client.get("/files/download", params={"path": str(file)})
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"] == 'attachment; filename="file.bin"'


async def test_many_files_in_one_request(client: httpx.AsyncClient, workspace: Path) -> None:
    pairs = [pair(f"many/{n}", b"x" * n) for n in range(1000)]
    assert (await upload(client, *pairs)).status_code == 200
    assert all((workspace / f"many/{n}").stat().st_size == n for n in range(1000))


async def test_an_empty_file(client: httpx.AsyncClient, workspace: Path) -> None:
    assert (await upload(client, pair("empty", b""))).status_code == 200
    assert (workspace / "empty").read_bytes() == b""
    answer = await client.get("/files/download", params={"path": "empty"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_body_in_pieces_of_any_size(client: httpx.AsyncClient, workspace: Path) -> None:
    whole = (
        b'--B\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n'
        b'Content-Type: application/json\r\n\r\n{"path": "pieces"}\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="p"\r\n\r\n'
        b"a\r\n--b\r\n-\r\n--Bx\r\n--B--\r\n"
    )

    async def body(size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(whole), size):
            yield whole[at : at + size]

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    for size in (1, 7, 1000):
        answer = await client.post("/files/upload", content=body(size), headers=headers)
        # A line that starts like the boundary but goes on is no boundary, nor is it well-formed.
        assert answer.status_code in (200, 400)
    whole = whole.replace(b"--Bx\r\n", b"")
    for size in (1, 7, 1000):
        (workspace / "pieces").unlink(missing_ok=True)
        answer = await client.post("/files/upload", content=body(size), headers=headers)
        assert answer.status_code == 200, answer.text
        assert (workspace / "pieces").read_bytes() == b"a\r\n--b\r\n-"


async def test_modes_and_owners_stay_unless_they_are_named(
    client: httpx.AsyncClient, workspace: Path
) -> None:
    file = workspace / "kept-mode"
    file.write_text("old, and longer")
    file.chmod(0o604)
    for mode in ({}, {"mode": 0}, {"mode": None}):
        assert (await upload(client, pair("kept-mode", b"new", **mode))).status_code == 200
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o604)
    await upload(client, pair("kept-mode", b"new", mode=700))
    assert stat.S_IMODE(file.stat().st_mode) == 0o700
    await upload(client, pair("new-mode", b"new"))
    assert stat.S_IMODE((workspace / "new-mode").stat().st_mode) == 0o644


async def test_a_link_is_followed(client: httpx.AsyncClient, workspace: Path) -> None:
    (workspace / "real").write_text("old")
    (workspace / "link").symlink_to("real")
    await upload(client, pair("link", b"new"))
    assert (workspace / "link").is_symlink()
    assert (workspace / "real").read_text() == "new"


async def test_names_of_any_kind(client: httpx.AsyncClient) -> None:
    for name in (
        "ünï ☃.txt",
        'quo"te\\.txt',
        "percent%41.txt",
        "semi;colon.txt",
        "new\nline",
        "$x",
    ):
        assert (await upload(client, pair(f"names/{name}", name.encode()))).status_code == 200
        answer = await client.get("/files/download", params={"path": f"names/{name}"})
        assert answer.text == name
        disposition = answer.headers["content-disposition"]
        assert "\n" not in disposition
        _, _, encoded = disposition.partition("filename*=UTF-8''")
        assert f'filename="{name}"' in disposition or unquote(encoded) == name


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "INVALID_FILE"),
        (pair("a", b"")[:1], "INVALID_FILE"),
        (pair("a", b"")[1:], "INVALID_FILE"),
        ([*pair("a", b""), *pair("b", b"")[:1]], "INVALID_FILE"),
        ([*pair("a", b""), *pair("b", b"")[1:]], "INVALID_FILE"),
        ([("other", ("x", b"x"))], "INVALID_FILE"),
        ([("metadata", ("m", b"{")), pair("a", b"")[1]], "INVALID_FILE_METADATA"),
        ([("metadata", ("m", b"{}")), pair("a", b"")[1]], "INVALID_FILE_METADATA"),
        ([("metadata", (None, b'{"path":"a"}')), pair("a", b"")[1]], "INVALID_FILE_METADATA"),
        ([("metadata", ("m", b"[" * 70_000)), pair("a", b"")[1]], "INVALID_FILE_METADATA"),
        (pair("a", b"", mode=888), "INVALID_FILE_METADATA"),
        (pair("a", b"", mode="755"), "INVALID_FILE_METADATA"),
        (pair("a", b"", owner="nobody-of-that-name"), "INVALID_FILE_METADATA"),
        (pair("/dev/null", b"x"), "INVALID_FILE"),
        (pair(".", b"x"), "INVALID_FILE"),
        (pair("/etc/passwd/x", b"x"), "INVALID_FILE"),
        (pair("", b"x"), "INVALID_REQUEST_BODY"),
        (pair("a\0b", b"x"), "INVALID_REQUEST_BODY"),
    ],
)
async def test_forms_that_cannot_be(
    client: httpx.AsyncClient, workspace: Path, parts: list[tuple[str, Any]], code: str
) -> None:
    boundary = {"Content-Type": "multipart/form-data; boundary=B"}
    nothing = {"content": b"--B--\r\n", "headers": boundary}
    answer = await client.post("/files/upload", **({"files": parts} if parts else nothing))
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == code
    assert answer.json()["message"]
    assert left_over(workspace) == []


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 999],
)
async def test_bodies_that_are_no_forms(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/files/upload", content=b"x", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FILE")


async def test_a_form_without_end_changes_nothing(
    client: httpx.AsyncClient, workspace: Path
) -> None:
    (workspace / "whole").write_text("whole")
    body = (
        b'--B\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n\r\n'
        b'{"path": "whole"}\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="p"\r\n\r\nhalf'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await client.post("/files/upload", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FILE_CONTENT")
    assert (workspace / "whole").read_text() == "whole"
    assert left_over(workspace) == []


async def test_a_client_that_leaves_in_the_middle_changes_nothing(
    daemon: Daemon, workspace: Path
) -> None:
    (workspace / "unhurt").write_text("unhurt")
    before = daemon.descriptors()
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield (
            b'--B\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n\r\n'
            b'{"path": "unhurt"}\r\n'
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="p"\r\n\r\n'
        )
        for _ in range(8):
            yield b"x" * 1_000_000
        sent.set()
        await asyncio.sleep(600)

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    async with daemon.client() as leaver:
        post = leaver.post("/files/upload", content=body(), headers=headers)
        leaving = asyncio.ensure_future(post)
        await sent.wait()
        await eventually(lambda: left_over(workspace) != [])
        leaving.cancel()
        await asyncio.wait([leaving])
    await eventually(lambda: left_over(workspace) == [])
    assert (workspace / "unhurt").read_text() == "unhurt"
    await eventually(lambda: daemon.descriptors() <= before)


async def test_a_large_file_both_ways_without_growing(
    daemon: Daemon, client: httpx.AsyncClient, workspace: Path
) -> None:
    process = psutil.Process(daemon.process.pid)
    before = process.memory_info().rss
    block = os.urandom(1024 * 1024)
    head = (
        b'--B\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n\r\n'
        b'{"path": "large"}\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="p"\r\n\r\n'
    )

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(200):
            yield block
        yield b"\r\n--B--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await client.post("/files/upload", content=body(), headers=headers)
    assert answer.status_code == 200, answer.text
    digest = hashlib.sha256()
    async with client.stream("GET", "/files/download", params={"path": "large"}) as download:
        async for piece in download.aiter_bytes():
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(block * 200).digest()
    assert process.memory_info().rss - before < 48 * 1024 * 1024
    (workspace / "large").unlink()


@pytest.mark.parametrize(
    ("wanted", "body", "where"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-5", b"2345", "bytes 2-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-999999999999", b"56789", "bytes 5-9/10"),
        ("bytes=1-2,4-5", b"12", "bytes 1-2/10"),
        ("bytes=" + "1-1," * 10_000 + "2-2", b"1", "bytes 1-1/10"),
    ],
)
async def test_ranges(
    client: httpx.AsyncClient, workspace: Path, wanted: str, body: bytes, where: str
) -> None:
    (workspace / "digits").write_text("0123456789")
    answer = await client.get(
        "/files/download", params={"path": "digits"}, headers={"Range": wanted}
    )
    assert (answer.status_code, answer.content) == (206, body)
    assert answer.headers["content-range"] == where
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize(
    "wanted",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=5-2", "bytes=10-",
     "bytes=-0", "bytes=99999999999999999999999-", "bytes=1", "bytes=--1", "bytes=1-2x"],
)  # fmt: skip
async def test_ranges_that_cannot_be(
    client: httpx.AsyncClient, workspace: Path, wanted: str
) -> None:
    (workspace / "digits").write_text("0123456789")
    answer = await client.get(
        "/files/download", params={"path": "digits"}, headers={"Range": wanted}
    )
    assert (answer.status_code, answer.json()["code"]) == (416, "UNKNOWN")
    assert answer.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize(
    ("offset", "limit", "text"),
    [
        (1, 1, "one"),
        (2, 2, "two\n"),
        (3, None, "\nfour"),
        (None, 2, "one\ntwo"),
        (4, 99, "four"),
        (5, 1, ""),
        (99, 1, ""),
        (None, 99, "one\ntwo\n\nfour"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_lines(
    client: httpx.AsyncClient,
    workspace: Path,
    offset: int | None,
    limit: int | None,
    text: str,
    end: bytes,
) -> None:
    (workspace / "lines").write_bytes(b"one\r\ntwo\n\nfour" + end)
    params = {"path": "lines", "offset": offset, "limit": limit}
    answer = await client.get(
        "/files/download", params={key: value for key, value in params.items() if value}
    )
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_lines_of_a_large_file(client: httpx.AsyncClient, workspace: Path) -> None:
    count = 500_000
    (workspace / "large-lines").write_text("".join(f"line {n}\r\n" for n in range(1, count + 1)))
    params = {"path": "large-lines", "offset": "250000", "limit": "200000"}
    answer = await client.get("/files/download", params=params)
    assert answer.text == "\n".join(f"line {n}" for n in range(250_000, 450_000))


@pytest.mark.parametrize("query", ["offset=0", "offset=-1", "offset=x", "limit=0", "limit=1.5"])
async def test_lines_that_cannot_be(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/files/download?path=/etc/passwd&{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_lines_and_a_range_exclude_each_other(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/files/download?path=/etc/passwd&offset=1", headers={"Range": "bytes=0-1"}
    )
    assert answer.status_code == 400


async def test_what_is_no_file_is_refused_and_nobody_waits(
    client: httpx.AsyncClient, workspace: Path
) -> None:
    os.mkfifo(workspace / "fifo")
    for path in ("/dev/zero", "/dev/tty", "fifo", ".", "/proc/self/fd"):
        answer = await client.get("/files/download", params={"path": path})
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FILE"), path
    for path in ("missing", "/no/such"):
        answer = await client.get("/files/download", params={"path": path})
        assert (answer.status_code, answer.json()["code"]) == (404, "FILE_NOT_FOUND")
    answer = await client.get("/files/download")
    assert (answer.status_code, answer.json()["code"]) == (400, "MISSING_QUERY")


async def test_files_of_the_kernel_have_content(client: httpx.AsyncClient) -> None:
    answer = await client.get("/files/download", params={"path": "/proc/cpuinfo"})
    assert "processor" in answer.text
    answer = await client.get("/files/download", params={"path": "/proc/kmsg"})
    assert answer.status_code in (200, 400, 403, 404)


async def test_a_download_that_is_not_read_to_its_end(
    daemon: Daemon, client: httpx.AsyncClient, workspace: Path
) -> None:
    with open(workspace / "sparse", "wb") as file:
        file.truncate(10**9)
    before = daemon.descriptors()
    for _ in range(5):
        async with daemon.client() as leaver:
            params = {"path": "sparse"}
            async with leaver.stream("GET", "/files/download", params=params) as answer:
                await anext(answer.aiter_bytes())
    await eventually(lambda: daemon.descriptors() <= before)
