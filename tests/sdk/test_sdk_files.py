"""Files and directories, in both colours, on the embedded server."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.models.filesystem import (
    ContentReplaceEntry,
    DirectoryListEntry,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)


@pytest.mark.parametrize("text", ["", "hello", "grüße\r\n\u2028🙂\n", "x" * 100_000])
async def test_text_comes_back_as_it_was(sandbox: Any, text: str) -> None:
    await sandbox.files.write_file("/workspace/a/b/c.txt", text)

    assert await sandbox.files.read_file("/workspace/a/b/c.txt") == text


async def test_bytes_and_open_files_come_back_as_they_were(sandbox: Any, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3_000_000)
    (tmp_path / "local").write_bytes(data)

    with (tmp_path / "local").open("rb") as local:
        await sandbox.files.write_files(
            [
                WriteEntry(path="/tmp/bytes", data=data),
                WriteEntry(path="/tmp/file", data=local, mode=600),
                WriteEntry(path="/tmp/text", data=io.StringIO("é"), encoding="latin-1"),
            ]
        )

    assert await sandbox.files.read_bytes("/tmp/bytes") == data
    assert await sandbox.files.read_bytes("/tmp/file") == data
    assert await sandbox.files.read_bytes("/tmp/text") == b"\xe9"
    assert (await sandbox.files.get_file_info(["/tmp/file"]))["/tmp/file"].mode == 600


async def test_a_file_is_streamed_in_equal_pieces(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/f", bytes(range(256)) * 1000)

    pieces = [p async for p in sandbox.files.read_bytes_stream("/tmp/f", chunk_size=10_000)]

    assert {len(p) for p in pieces[:-1]} == {10_000}
    assert b"".join(pieces) == bytes(range(256)) * 1000


async def test_ranges_and_lines(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/f", "one\ntwo\nthree\n")

    assert await sandbox.files.read_bytes("/tmp/f", range_header="bytes=4-6") == b"two"
    assert await sandbox.files.read_file("/tmp/f", offset=2, limit=1) == "two"
    with pytest.raises(SandboxApiException) as caught:
        await sandbox.files.read_bytes("/tmp/f", range_header="bytes=900-")
    assert caught.value.status_code == 416


async def test_info_tells_kind_size_mode_and_time(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/f", "12345", mode=640)
    await sandbox.commands.run("ln -s f /tmp/link")

    info = await sandbox.files.get_file_info(["/tmp/f", "/tmp", "/tmp/link"])

    assert [info[p].entry_type for p in ("/tmp/f", "/tmp", "/tmp/link")] == [
        "file",
        "directory",
        "symlink",
    ]
    assert (info["/tmp/f"].size, info["/tmp/f"].mode) == (5, 640)
    assert info["/tmp/f"].modified_at.tzinfo is not None


async def test_directories_are_made_listed_and_deleted(sandbox: Any) -> None:
    await sandbox.files.create_directories([WriteEntry(path="/tmp/d/e/f", mode=700)])
    await sandbox.files.write_file("/tmp/d/x", "")

    flat = await sandbox.files.list_directory(DirectoryListEntry(path="/tmp/d"))
    deep = await sandbox.files.list_directory(DirectoryListEntry(path="/tmp/d", depth=3))
    assert [e.path for e in flat] == ["/tmp/d/e", "/tmp/d/x"]
    assert [e.path for e in deep] == ["/tmp/d/e", "/tmp/d/e/f", "/tmp/d/x"]

    await sandbox.files.delete_directories(["/tmp/d", "/tmp/never-there"])
    with pytest.raises(SandboxApiException):
        await sandbox.files.list_directory(DirectoryListEntry(path="/tmp/d"))


async def test_search_finds_names_at_any_depth(sandbox: Any) -> None:
    for name in ("a.py", "deep/er/b.py", "deep/c.txt"):
        await sandbox.files.write_file(f"/tmp/s/{name}", "")

    found = await sandbox.files.search(SearchEntry(path="/tmp/s", pattern="*.py"))

    assert sorted(e.path for e in found) == ["/tmp/s/a.py", "/tmp/s/deep/er/b.py"]
    assert await sandbox.files.search(SearchEntry(path="/tmp/s", pattern="*.none")) == []


async def test_move_replace_permissions_and_delete(sandbox: Any) -> None:
    files = sandbox.files
    await files.write_file("/tmp/a", "red red blue")

    await files.move_files([MoveEntry(src="/tmp/a", dest="/tmp/new/b")])
    counts = await files.replace_contents_detailed(
        [ContentReplaceEntry(path="/tmp/new/b", old_content="red", new_content="green")]
    )
    await files.replace_contents(
        [ContentReplaceEntry(path="/tmp/new/b", old_content="blue", new_content="grey")]
    )
    await files.set_permissions([SetPermissionEntry(path="/tmp/new/b", mode=604)])
    info = (await files.get_file_info(["/tmp/new/b"]))["/tmp/new/b"]

    assert [(c.path, c.replaced_count) for c in counts] == [("/tmp/new/b", 2)]
    assert await files.read_file("/tmp/new/b") == "green green grey"
    assert info.mode == 604

    await files.delete_files(["/tmp/new/b", "/tmp/never-there"])
    with pytest.raises(SandboxApiException) as caught:
        await files.read_file("/tmp/new/b")
    assert caught.value.status_code == 404


async def test_a_path_that_is_not_there_is_named(sandbox: Any) -> None:
    for call in (
        sandbox.files.read_file("/tmp/nope"),
        sandbox.files.get_file_info(["/tmp", "/tmp/nope"]),
        sandbox.files.move_files([MoveEntry(src="/tmp/nope", dest="/tmp/x")]),
        sandbox.files.search(SearchEntry(path="/tmp/nope")),
    ):
        with pytest.raises(SandboxApiException, match="/tmp/nope") as caught:
            await call
        assert caught.value.status_code == 404


async def test_mistakes_are_refused_before_anything_is_sent(sandbox: Any) -> None:
    with pytest.raises(InvalidArgumentException, match="list"):
        await sandbox.files.delete_files("/tmp/a")
    with pytest.raises(InvalidArgumentException, match="octal"):
        await sandbox.files.write_file("/tmp/a", "", mode=0o755)
    await sandbox.files.write_file("/tmp/binary", b"\xff")
    with pytest.raises(InvalidArgumentException, match="read_bytes"):
        await sandbox.files.read_file("/tmp/binary")


@pytest.mark.parametrize("name", ["quo\"te'", "new\nline", "sp ace", "ünï", "-rf", "a" * 250])
async def test_names_of_every_kind(sandbox: Any, name: str) -> None:
    path = f"/tmp/names/{name}"

    await sandbox.files.write_file(path, name)

    assert await sandbox.files.read_file(path) == name
    assert list(await sandbox.files.get_file_info([path])) == [path]
    found = await sandbox.files.search(SearchEntry(path="/tmp/names", pattern="*"))
    assert [e.path for e in found] == [path]
