"""What the files service sends: identities, feeds, and what it refuses before sending."""

from __future__ import annotations

import httpx
import pytest

from opensandbox_jupyter.config import ConnectionConfig, ConnectionConfigSync
from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.models.filesystem import DirectoryListEntry, SearchEntry, WriteEntry
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.sync.files import FilesSync
from opensandbox_jupyter.wire.base import Origin

AT = Origin("http://sandbox/x")


class Listener:
    """Notes down requests with their bodies, and answers all of them alike."""

    def __init__(self, status: int = 200) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self._status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.asked.append((request.method, request.url.raw_path.decode(), body))
        return httpx.Response(self._status, json={"code": "NOT_FOUND", "message": "nothing"})

    async def later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self(request)


def files_over(listener: Listener) -> FilesSync:
    config = ConnectionConfigSync(domain="x", transport=httpx.MockTransport(listener))
    connection = ConnectionSync.open(config)
    return FilesSync(connection, AT)


def test_files_of_an_identity_go_to_paths_of_their_own() -> None:
    listener = Listener()
    plain = files_over(listener)
    files = plain.with_identity(1000, 7).with_identity(1001, 0)

    files.write_file("/a", b"data")
    files.delete_directories(["/d"])
    plain.delete_files(["/a"])

    assert [path for _, path, _ in listener.asked] == [
        "/x/v1/filesystem/1001/0/files/upload",
        "/x/v1/filesystem/1001/0/directories?path=%2Fd",
        "/x/files?path=%2Fa",
    ]


def test_a_daemon_without_identities_is_not_asked_as_root_instead() -> None:
    listener = Listener(404)

    with pytest.raises(SandboxApiException) as caught:
        files_over(listener).with_identity(1, 1).read_bytes("/etc/shadow")

    assert caught.value.status_code == 404
    assert len(listener.asked) == 1


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, True, "0", 1.0])
def test_an_identity_that_is_none_is_refused(uid: int) -> None:
    with pytest.raises(InvalidArgumentException, match="uid"):
        files_over(Listener()).with_identity(uid, 0)


@pytest.mark.parametrize("size", [None, 6])
async def test_feeds_go_through_a_transport_of_the_users_own(size: int | None) -> None:
    listener = Listener()
    config = ConnectionConfig(domain="x", transport=httpx.MockTransport(listener.later))
    connection = await Connection.open(config)

    await Files(connection, AT).write_stream("/a", [b"one", b"two"], size=size)
    files_over(listener).write_stream("/a", iter([b"one", b"two"]), size=size)

    for _, _, body in listener.asked:
        assert b"\r\n\r\nonetwo\r\n--" in body
        assert b'"path":"/a"' in body


@pytest.mark.parametrize(
    "make",
    [
        lambda: WriteEntry(path=" "),
        lambda: WriteEntry(path="/a", encoding=""),
        lambda: SearchEntry(path="/a", pattern=""),
        lambda: DirectoryListEntry(path=""),
    ],
)
def test_blank_fields_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidArgumentException, match="blank"):
        make()
