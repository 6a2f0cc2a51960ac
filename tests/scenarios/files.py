"""Files and directories."""

from __future__ import annotations

import io
from typing import Any

from scenarios import sdk

AT = "/tmp/files"
Entry = sdk.filesystem.WriteEntry
BYTES = bytes(range(256)) * 2000


async def writes_and_reads(sandbox: Any) -> None:
    files = sandbox.files
    await files.write_file(f"{AT}/a b/ä.txt", "hällo\nwörld\n", mode=640)
    assert await files.read_file(f"{AT}/a b/ä.txt") == "hällo\nwörld\n"
    await files.write_file(f"{AT}/latin", "grün", encoding="latin-1")
    assert await files.read_bytes(f"{AT}/latin") == "grün".encode("latin-1")
    assert await files.read_file(f"{AT}/latin", encoding="latin-1") == "grün"
    await files.write_file(f"{AT}/empty", b"")
    assert await files.read_bytes(f"{AT}/empty") == b""
    await files.write_files(
        [Entry(path=f"{AT}/bytes", data=BYTES), Entry(path=f"{AT}/stream", data=io.BytesIO(BYTES))]
    )
    assert await files.read_bytes(f"{AT}/bytes") == BYTES
    assert await files.read_bytes(f"{AT}/stream") == BYTES


async def reads_a_part(sandbox: Any) -> None:
    files = sandbox.files
    assert await files.read_bytes(f"{AT}/bytes", range_header="bytes=10-19") == BYTES[10:20]
    pieces = [one async for one in await files.read_bytes_stream(f"{AT}/bytes", chunk_size=1000)]
    assert (b"".join(pieces), {len(one) for one in pieces[:-1]}) == (BYTES, {1000})
    await files.write_file(f"{AT}/lines", "".join(f"line {n}\n" for n in range(1, 11)))
    part = await sdk.there(files.read_file(f"{AT}/lines", offset=3, limit=2))
    if part.count("line") != 2:
        raise sdk.NotThere("a file by its lines")
    assert part.split("\n")[:2] == ["line 3", "line 4"]


async def tells_what_is_known(sandbox: Any) -> None:
    info = (await sandbox.files.get_file_info([f"{AT}/a b/ä.txt"]))[f"{AT}/a b/ä.txt"]
    assert (info.mode, info.size, info.owner) == (640, 14, "root"), info
    assert info.modified_at is not None
    await sdk.refused(sandbox.files.get_file_info([f"{AT}/none"]), 404)


async def finds_and_lists(sandbox: Any) -> None:
    files = sandbox.files
    found = await files.search(sdk.filesystem.SearchEntry(path=AT, pattern="*.txt"))
    assert [one.path for one in found] == [f"{AT}/a b/ä.txt"]
    await files.create_directories([Entry(path=f"{AT}/deep/er", mode=700)])
    listed = await sdk.there(
        files.list_directory(sdk.filesystem.DirectoryListEntry(path=f"{AT}/deep", depth=2))
    )
    assert [one.path for one in listed] == [f"{AT}/deep/er"]


async def replaces_text(sandbox: Any) -> None:
    change = sdk.filesystem.ContentReplaceEntry(
        path=f"{AT}/a b/ä.txt", old_content="ö", new_content="oe"
    )
    (told,) = await sdk.there(sandbox.files.replace_contents_detailed([change]))
    assert (told.path, told.replaced_count) == (change.path, 1)
    await sandbox.files.replace_contents([change])
    assert await sandbox.files.read_file(change.path) == "hällo\nwoerld\n"


async def moves_and_changes(sandbox: Any) -> None:
    files, there = sandbox.files, f"{AT}/new/place.txt"
    await files.move_files([sdk.filesystem.MoveEntry(src=f"{AT}/a b/ä.txt", dest=there)])
    await files.set_permissions([sdk.filesystem.SetPermissionEntry(path=there, mode=600)])
    assert (await files.get_file_info([there]))[there].mode == 600
    await sdk.refused(files.read_file(f"{AT}/a b/ä.txt"), 404)


async def deletes(sandbox: Any) -> None:
    files = sandbox.files
    await files.delete_files([f"{AT}/bytes", f"{AT}/none"])
    await sdk.refused(files.read_bytes(f"{AT}/bytes"), 404)
    await files.delete_directories([AT])
    assert (await sandbox.commands.run(f"ls {AT}")).exit_code != 0


async def carries_large_files(sandbox: Any) -> None:
    large = bytes(48 << 20)
    await sandbox.files.write_file("/tmp/large", large)
    size = 0
    async for piece in await sandbox.files.read_bytes_stream("/tmp/large"):
        size += len(piece)
    assert size == len(large)
    assert (await sandbox.commands.run("wc -c </tmp/large; rm /tmp/large")).text.strip() == str(
        size
    )


async def knows_identities(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/mine", "mine", mode=600)
    assert await sdk.there(sandbox.files_with_identity(0, 0).read_file("/tmp/mine")) == "mine"
    await sdk.refused(sandbox.files_with_identity(1000, 1000).read_file("/tmp/mine"))
