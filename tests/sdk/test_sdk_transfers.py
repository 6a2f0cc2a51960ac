"""Copies between this machine and a sandbox, in both colours, on the embedded server."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    TransferException,
)
from opensandbox_jupyter.models.execd import RunCommandOpts

DATA = random.Random(7).randbytes(3_000_001)


def tree(root: Path) -> dict[str, bytes | None]:
    """Return what is below a folder: contents of files, ``None`` for folders."""
    return {
        str(p.relative_to(root)): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")
    }


async def test_a_file_goes_in_and_out_whole_and_compared(sandbox: Any, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(DATA)
    (tmp_path / "local").chmod(0o741)
    seen: list[tuple[int, int]] = []

    up = await sandbox.files.upload(
        tmp_path / "local", "/tmp/a/b", progress=lambda done, total: seen.append((done, total))
    )
    down = await sandbox.files.download("/tmp/a/b", str(tmp_path / "new" / "back"))

    assert (up.files, up.size, up.verified, up.skipped) == (1, len(DATA), "sha256", [])
    assert (down.files, down.size, down.verified, down.resumed) == (1, len(DATA), "sha256", 0)
    assert seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (await sandbox.files.get_file_info(["/tmp/a/b"]))["/tmp/a/b"].mode == 741
    assert tree(tmp_path / "new") == {"back": DATA}
    assert os.access(tmp_path / "new" / "back", os.X_OK)


async def test_a_file_goes_into_a_folder_that_is_there(sandbox: Any, tmp_path: Path) -> None:
    await sandbox.files.write_file("/tmp/f.txt", "f")

    await sandbox.files.download("/tmp/f.txt", tmp_path)
    await sandbox.files.upload(tmp_path / "f.txt", "/tmp/d/")

    assert (tmp_path / "f.txt").read_text() == "f"
    assert await sandbox.files.read_file("/tmp/d/f.txt") == "f"


async def test_a_folder_goes_in_and_out_without_its_links(sandbox: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    for number in range(70):
        (source / "deep" / "er" / f"n {number}").write_text(str(number))
    (source / "nothing").touch()
    (source / "link").symlink_to("/etc/passwd")
    (source / "folder").symlink_to("/etc")

    up = await sandbox.files.upload(source, "/tmp/copy")
    await sandbox.commands.run("ln -s /etc /tmp/copy/out; ln -s /etc/passwd /tmp/copy/passwd")
    down = await sandbox.files.download("/tmp/copy", tmp_path / "back")

    assert sorted(up.skipped) == [str(source / "folder"), str(source / "link")]
    assert sorted(down.skipped) == ["/tmp/copy/out", "/tmp/copy/passwd"]
    assert (up.files, down.files, down.verified) == (71, 71, "sha256")
    (source / "link").unlink()
    (source / "folder").unlink()
    assert tree(tmp_path / "back") == tree(source)


async def test_a_download_goes_on_where_it_broke_off(sandbox: Any, tmp_path: Path) -> None:
    await sandbox.files.write_file("/tmp/big", DATA)

    def stop(done: int, _: int) -> None:
        if done > 1_500_000:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        await sandbox.files.download("/tmp/big", tmp_path / "big", progress=stop)
    assert not (tmp_path / "big").exists()
    again = await sandbox.files.download("/tmp/big", tmp_path / "big")

    assert 0 < again.resumed < len(DATA)
    assert tree(tmp_path) == {"big": DATA}


async def test_a_file_that_changed_is_read_anew(sandbox: Any, tmp_path: Path) -> None:
    await sandbox.files.write_file("/tmp/big", DATA)

    def stop(done: int, _: int) -> None:
        if done > 1_500_000:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        await sandbox.files.download("/tmp/big", tmp_path / "big", progress=stop)
    await sandbox.files.write_file("/tmp/big", DATA[::-1])
    again = await sandbox.files.download("/tmp/big", tmp_path / "big")

    assert again.resumed == 0
    assert tree(tmp_path) == {"big": DATA[::-1]}  # what was left of the old one is gone, too


@pytest.fixture
async def own_path(sdk: Any) -> AsyncIterator[Any]:
    """A sandbox that finds programs in a folder of its own only."""
    box = await sdk.Sandbox.create("base", env={"PATH": "/tmp/bin"})
    yield box
    await box.destroy()


async def test_sizes_are_compared_where_there_is_no_sha256sum(
    own_path: Any, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"12345")

    up = await own_path.files.upload(tmp_path / "f", "/tmp/f")
    down = await own_path.files.download("/tmp/f", tmp_path / "g")
    unasked = await own_path.files.download("/tmp/f", tmp_path / "h", verify=False)

    assert (up.verified, down.verified, unasked.verified) == ("size", "size", None)
    assert (tmp_path / "g").read_bytes() == (tmp_path / "h").read_bytes() == b"12345"


async def test_a_hash_that_differs_is_an_error_and_leaves_nothing(
    own_path: Any, tmp_path: Path
) -> None:
    other = f"#!/bin/sh\necho {'0' * 64}  x\n"
    await own_path.files.write_file("/tmp/bin/sha256sum", other, mode=755)
    (tmp_path / "f").write_bytes(b"12345")

    with pytest.raises(TransferException, match="not the same"):
        await own_path.files.upload(tmp_path / "f", "/tmp/f")
    with pytest.raises(TransferException, match="not the same"):
        await own_path.files.download("/tmp/f", tmp_path / "g")

    assert tree(tmp_path) == {"f": b"12345"}


async def test_what_cannot_be_copied_is_said(sandbox: Any, tmp_path: Path) -> None:
    await sandbox.commands.run("ln -s /etc/passwd /tmp/link")

    with pytest.raises(InvalidArgumentException, match="neither"):
        await sandbox.files.upload(tmp_path / "nope", "/tmp/x")
    with pytest.raises(InvalidArgumentException, match="symlink"):
        await sandbox.files.download("/tmp/link", tmp_path / "x")
    with pytest.raises(SandboxApiException) as caught:
        await sandbox.files.download("/tmp/nope", tmp_path / "x")
    assert caught.value.status_code == 404
    (tmp_path / "dir").mkdir()
    await sandbox.files.write_file("/tmp/folder/dir", "a file where a folder is here")
    with pytest.raises(TransferException, match="disk"):
        await sandbox.files.download("/tmp/folder", tmp_path)


async def test_progress_may_be_async_and_an_error_in_it_ends_the_copy(
    sandbox: Any, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(DATA)
    seen: list[int] = []

    async def later(done: int, _: int) -> None:
        seen.append(done)

    def refuse(*_: int) -> None:
        raise LookupError("mine")

    if hasattr(sandbox, "_inner"):
        with pytest.raises(InvalidArgumentException, match="async"):
            await sandbox.files.upload(tmp_path / "f", "/tmp/f", progress=later)
    else:
        await sandbox.files.upload(tmp_path / "f", "/tmp/f", progress=later)
        assert seen[-1] == len(DATA)
    with pytest.raises(LookupError):
        await sandbox.files.upload(tmp_path / "f", "/tmp/g", progress=refuse)
    with pytest.raises(SandboxApiException):
        await sandbox.files.read_file("/tmp/g")


async def test_streams_in_and_out(sandbox: Any) -> None:
    pieces = [DATA[:1], b"", DATA[1:2_000_000], DATA[2_000_000:]]

    async def later() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    await sandbox.files.write_stream("/tmp/plain", pieces, mode=600)
    await sandbox.files.write_stream("/tmp/sized", iter(pieces), size=len(DATA))
    names = ["/tmp/plain", "/tmp/sized"]
    if not hasattr(sandbox, "_inner"):
        await sandbox.files.write_stream("/tmp/later", later())
        await sandbox.files.write_stream("/tmp/both", later(), size=len(DATA))
        names += ["/tmp/later", "/tmp/both"]

    for name in names:
        read = [piece async for piece in sandbox.files.read_stream(name)]
        assert b"".join(read) == DATA
    with pytest.raises(SandboxConnectionException):
        await sandbox.files.write_stream("/tmp/short", pieces, size=len(DATA) + 1)
    with pytest.raises(SandboxApiException):
        await sandbox.files.read_file("/tmp/short")


async def test_streams_may_be_awaited_first(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/f", b"0123456789")

    stream = await sandbox.files.read_bytes_stream("/tmp/f", chunk_size=4)

    assert [piece async for piece in stream] == [b"0123", b"4567", b"89"]


async def test_changes_are_seen(sandbox: Any) -> None:
    files = sandbox.files
    await files.write_file("/tmp/w/old", "1")
    await files.write_file("/tmp/w/sub/there", "1")
    script = "while echo 2 >> old; do touch sub/new; sleep 0.3; rm sub/new; sleep 0.3; done"
    await sandbox.commands.run(script, opts=RunCommandOpts(background=True), cwd="/tmp/w")
    changes = files.watch("/tmp/w", interval=0.05).__aiter__()

    awaited = {
        ("changed", "/tmp/w/old"),
        ("deleted", "/tmp/w/sub/new"),
        ("created", "/tmp/w/sub/new"),
    }
    while awaited:
        change = await anext(changes)
        assert change.entry.path in ("/tmp/w/old", "/tmp/w/sub/new")
        awaited.discard((change.kind, change.entry.path))
    await changes.aclose()


async def test_one_file_is_watched_until_it_is_gone_and_back(sandbox: Any) -> None:
    files = sandbox.files
    with pytest.raises(SandboxApiException):
        await anext(files.watch("/tmp/one").__aiter__())
    with pytest.raises(InvalidArgumentException):
        await anext(files.watch("/tmp/one", interval=0).__aiter__())
    await files.write_file("/tmp/one", "1")
    await sandbox.commands.run("(sleep 2; rm /tmp/one; sleep 2; touch /tmp/one) &")

    seen = []
    async for change in files.watch("/tmp/one", interval=0.05):
        seen.append((change.kind, change.entry.path))
        if len(seen) == 2:
            break

    assert seen == [("deleted", "/tmp/one"), ("created", "/tmp/one")]


NAMES = ["Outer$Inner.class", "Outer.class", "$HOME", "~", "per%20cent", "-rf", "back\\slash", "ü"]


async def test_names_that_look_like_something_else_are_names(sandbox: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a$b").mkdir(parents=True)
    for name in NAMES:
        (source / name).write_text(name)
        (source / "a$b" / name).write_text(name)

    up = await sandbox.files.upload(source, "~/copy")
    down = await sandbox.files.download("$HOME/copy", tmp_path / "back")

    assert (up.verified, up.skipped) == (down.verified, down.skipped) == ("sha256", [])
    assert tree(tmp_path / "back") == tree(source)
    one = await sandbox.files.upload(source / "$HOME", "~/one")
    assert one.verified == "sha256"
    assert await sandbox.files.read_file("~/one") == "$HOME"


async def test_a_daemon_that_expands_names_gets_none_that_it_would_expand(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opensandbox_jupyter.wire.opensandbox.files import Files

    monkeypatch.setattr(Files, "literal_paths", lambda _self, origin: origin)
    for name in NAMES[:2]:
        (tmp_path / name).write_text(name)
    await sandbox.files.upload(tmp_path / NAMES[1], "/tmp/out/")
    await sandbox.commands.run(["touch", "/tmp/out/Outer$Inner.class"])

    up = await sandbox.files.upload(tmp_path, "/tmp/in")
    down = await sandbox.files.download("/tmp/out", tmp_path / "back")

    assert (up.skipped, down.skipped) == ([str(tmp_path / NAMES[0])], [f"/tmp/out/{NAMES[0]}"])
    assert await sandbox.files.read_file("/tmp/in/Outer.class") == NAMES[1]
    assert tree(tmp_path / "back") == {NAMES[1]: NAMES[1].encode()}


async def test_text_that_is_none_is_refused_before_it_is_sent(sandbox: Any) -> None:
    for call in (
        lambda: sandbox.files.read_file("/tmp/\udcff"),
        lambda: sandbox.files.write_file("/tmp/\udcff", "x"),
        lambda: sandbox.commands.run("echo \udcff"),
        lambda: sandbox.codes.run("'\udcff'"),
    ):
        with pytest.raises(InvalidArgumentException, match="Unicode"):
            await call()


async def test_what_vanishes_meanwhile_is_said_and_little_pieces_are_not_left(
    sandbox: Any, tmp_path: Path
) -> None:
    await sandbox.commands.run("mkdir /tmp/many; cd /tmp/many; echo x > 1000; echo y > 1009")
    remove = ["rm", "-f", "/tmp/many/1009"]
    blocking = getattr(sandbox, "_inner", None)

    def gone(done: int, _: int) -> Any:
        return (blocking or sandbox).commands.run(remove) if done else None

    with pytest.raises(SandboxApiException) as caught:
        await sandbox.files.download("/tmp/many", tmp_path / "many", progress=gone)
    assert caught.value.status_code == 404
    assert os.listdir(tmp_path / "many") == []


async def test_a_full_disk_inside_is_said_and_leaves_nothing(sandbox: Any, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(80 * 1024 * 1024)

    with pytest.raises(SandboxApiException) as caught:
        await sandbox.files.upload(tmp_path / "big", "/dev/shm/big")

    assert caught.value.status_code == 507
    assert (await sandbox.commands.run("ls -A /dev/shm")).text == ""
