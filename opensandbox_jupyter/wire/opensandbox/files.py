"""Operations on files and directories of execd, the daemon inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import IOBase, TextIOBase
from typing import Any

from opensandbox_jupyter import models
from opensandbox_jupyter.constants import PATHS_HEADER
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.wire.base import Call, Feed, Operation, Origin, Part, Reply
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer
from opensandbox_jupyter.wire.opensandbox._read import OK, build, to_json
from opensandbox_jupyter.wire.protocol.files import FileCalls, Query

__all__ = ["Files"]


_LAST_ID = 2**32 - 2


class Files(FileCalls):
    """Read, write, list, find, move and delete files."""

    def download(
        self, sandbox: Origin, path: str, *, query: Query = (), range_header: str | None = None
    ) -> Call:
        """GET /files/download."""
        headers = {"Range": range_header} if range_header else {}
        where = [("path", path), *query]
        return Call("read_file", sandbox, "GET", "/files/download", where, headers)

    def upload(
        self,
        sandbox: Origin,
        entries: Sequence[models.WriteEntry],
        feeds: Sequence[Feed] | None = None,
    ) -> Operation[None]:
        """POST /files/upload; a part of metadata before each part of content."""
        parts = list(_parts(entries, feeds or [None] * len(entries)))
        call = Call("write_files", sandbox, "POST", "/files/upload", parts=parts)
        expect(call, (yield call))

    def with_identity(self, sandbox: Origin, uid: int, gid: int) -> Origin:
        """The same paths below /v1/filesystem/{uid}/{gid}."""
        for name, number in (("uid", uid), ("gid", gid)):
            if type(number) is not int or not 0 <= number <= _LAST_ID:
                raise InvalidArgumentException(f"{name} must be a number from 0 to {_LAST_ID}.")
        return replace(sandbox, base_url=f"{sandbox.base_url}/v1/filesystem/{uid}/{gid}")

    def literal_paths(self, sandbox: Origin) -> Origin:
        """A header of our own, which other daemons pass over."""
        return replace(sandbox, headers={**sandbox.headers, PATHS_HEADER: "literal"})

    def make_directories(
        self, sandbox: Origin, entries: Sequence[models.WriteEntry]
    ) -> Operation[None]:
        """POST /directories."""
        body = {e.path: {"mode": e.mode, "owner": e.owner, "group": e.group} for e in entries}
        return _post("create_directories", sandbox, "/directories", body)

    def delete_files(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """DELETE /files; a path that is not there is passed over."""
        return _delete("delete_files", sandbox, "/files", paths)

    def delete_directories(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """DELETE /directories; a path that is not there is passed over."""
        return _delete("delete_directories", sandbox, "/directories", paths)

    def move(self, sandbox: Origin, entries: Sequence[models.MoveEntry]) -> Operation[None]:
        """POST /files/mv."""
        body = [{"src": e.src, "dest": e.dest} for e in entries]
        return _post("move_files", sandbox, "/files/mv", body)

    def set_permissions(
        self, sandbox: Origin, entries: Sequence[models.SetPermissionEntry]
    ) -> Operation[None]:
        """POST /files/permissions."""
        body = {e.path: _permission(e) for e in entries}
        return _post("set_permissions", sandbox, "/files/permissions", body)

    def replace(
        self, sandbox: Origin, entries: Sequence[models.ContentReplaceEntry]
    ) -> Operation[list[models.ContentReplaceResult]]:
        """POST /files/replace with counts asked for; older daemons answer none."""
        body = {e.path: {"old": e.old_content, "new": e.new_content} for e in entries}
        query = [("verbose", "true")]
        call = Call(
            "replace_contents", sandbox, "POST", "/files/replace", query, json=to_json(body)
        )
        reply = expect(call, (yield call))
        counts = decode_json(call, reply) if reply.body.strip() else {}
        return [
            build(call, models.ContentReplaceResult, {"path": path, **count})
            for path, count in _mapping(call, counts).items()
        ]

    def search(
        self, sandbox: Origin, entry: models.SearchEntry
    ) -> Operation[list[models.EntryInfo]]:
        """GET /files/search; the pattern is matched against names, at any depth."""
        query = [("path", entry.path), ("pattern", entry.pattern)]
        return _listing(Call("search_files", sandbox, "GET", "/files/search", query))

    def list_directory(
        self, sandbox: Origin, entry: models.DirectoryListEntry
    ) -> Operation[list[models.EntryInfo]]:
        """GET /directories/list."""
        query = [("path", entry.path)]
        if entry.depth is not None:
            query.append(("depth", str(entry.depth)))
        return _listing(Call("list_directory", sandbox, "GET", "/directories/list", query))

    def file_info(
        self, sandbox: Origin, paths: Sequence[str]
    ) -> Operation[dict[str, models.EntryInfo]]:
        """GET /files/info; one path that is not there fails the whole call."""
        query = [("path", path) for path in paths]
        call = Call("get_file_info", sandbox, "GET", "/files/info", query)
        data = decode_json(call, expect(call, (yield call), OK))
        return {
            path: build(call, models.EntryInfo, info) for path, info in _mapping(call, data).items()
        }


def _parts(entries: Sequence[models.WriteEntry], feeds: Sequence[Feed | None]) -> Iterator[Part]:
    for entry, feed in zip(entries, feeds, strict=True):
        metadata = {
            "path": entry.path,
            "owner": entry.owner,
            "group": entry.group,
            "mode": entry.mode,
        }
        yield Part("metadata", "metadata", to_json(metadata), "application/json")
        kind = (
            f"text/plain; charset={entry.encoding}"
            if isinstance(entry.data, str | TextIOBase)
            else "application/octet-stream"
        )
        name = entry.path.rstrip("/").rsplit("/", 1)[-1] or "file"
        yield Part("file", name, feed or _content(entry), kind)


def _content(entry: models.WriteEntry) -> bytes | IOBase:
    """Return what to send."""
    data = entry.data
    if data is None:
        raise InvalidArgumentException(f"{entry.path}: there is no data to write.")
    try:
        if isinstance(data, str):
            return data.encode(entry.encoding)
        if isinstance(data, TextIOBase):
            return str(data.read()).encode(entry.encoding)
    except (UnicodeEncodeError, LookupError) as cause:
        raise InvalidArgumentException(
            f"{entry.path}: the text cannot be written as {entry.encoding}: {cause}", cause=cause
        ) from cause
    return data


def _permission(entry: models.SetPermissionEntry) -> dict[str, Any]:
    fields = {"mode": entry.mode, "owner": entry.owner, "group": entry.group}
    return {key: value for key, value in fields.items() if value is not None}


def _post(name: str, sandbox: Origin, path: str, body: Any) -> Operation[None]:
    call = Call(name, sandbox, "POST", path, json=to_json(body))
    expect(call, (yield call))


def _delete(name: str, sandbox: Origin, path: str, paths: Sequence[str]) -> Operation[None]:
    call = Call(name, sandbox, "DELETE", path, [("path", item) for item in paths])
    expect(call, (yield call))


def _listing(call: Call) -> Operation[list[models.EntryInfo]]:
    reply: Reply = yield call
    data = decode_json(call, expect(call, reply, OK))
    if not isinstance(data, list | None):
        raise invalid_answer(call, TypeError("it is not a list"))
    return [build(call, models.EntryInfo, item) for item in data or ()]


def _mapping(call: Call, data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise invalid_answer(call, TypeError("it is not an object of objects"))
    return data
