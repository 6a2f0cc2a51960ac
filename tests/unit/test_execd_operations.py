"""The operations on execd: what goes out, what comes back, by hand-fed replies."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from driving import SANDBOX, drive, ok, sent

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.models.execd import RunCommandOpts
from opensandbox_jupyter.models.filesystem import (
    ContentReplaceEntry,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)
from opensandbox_jupyter.wire.base import Reply
from opensandbox_jupyter.wire.opensandbox import OpenSandbox

PROTOCOL = OpenSandbox()
ENTRY = {
    "path": "/a",
    "type": "file",
    "size": 1,
    "mode": 644,
    "owner": "root",
    "group": "root",
    "modified_at": "2026-01-01T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
}


def test_run_sends_only_what_was_set_and_milliseconds() -> None:
    plain = PROTOCOL.run(SANDBOX, "ls", RunCommandOpts())
    full = PROTOCOL.run(
        SANDBOX,
        ["ls", "-l"],
        RunCommandOpts(
            background=True,
            working_directory="/w",
            timeout=timedelta(seconds=1.5),
            uid=1,
            gid=2,
            envs={"A": "b"},
        ),
    )

    assert sent(plain) == {"command": "ls"}
    assert sent(full) == {
        "argv": ["ls", "-l"],
        "background": True,
        "cwd": "/w",
        "timeout": 1500,
        "uid": 1,
        "gid": 2,
        "envs": {"A": "b"},
    }


@pytest.mark.parametrize(
    ("command", "opts"),
    [
        (" ", RunCommandOpts()),
        ([], RunCommandOpts()),
        (["a", 1], RunCommandOpts()),
        ("a", RunCommandOpts(gid=1)),
        ("a", RunCommandOpts(timeout=timedelta(0))),
    ],
)
def test_run_refuses_before_anything_is_sent(command: object, opts: RunCommandOpts) -> None:
    with pytest.raises(InvalidArgumentException):
        PROTOCOL.run(SANDBOX, command, opts)  # type: ignore[arg-type]


def test_status_reads_what_is_there() -> None:
    status, (call,) = drive(
        PROTOCOL.command_status(SANDBOX, "e1"), ok({"id": "e1", "running": False, "exit_code": 0})
    )

    assert call.path == "/command/status/e1"
    assert (status.running, status.exit_code, status.finished_at) == (False, 0, None)


@pytest.mark.parametrize(("header", "cursor"), [("12", 12), ("", None), ("x", None)])
def test_logs_go_on_from_the_cursor_of_the_header(header: str, cursor: int | None) -> None:
    reply = Reply(200, {"execd-commands-tail-cursor": header}, b"caf\xc3")

    logs, (call,) = drive(PROTOCOL.command_logs(SANDBOX, "e1", 5), reply)

    assert call.query == [("cursor", "5")]
    assert (logs.content, logs.cursor) == ("caf\N{REPLACEMENT CHARACTER}", cursor)


def test_upload_puts_metadata_with_a_filename_before_each_content() -> None:
    entries = [
        WriteEntry(path="/d/a.txt", data="hé"),
        WriteEntry(path="/b", data=b"\0", mode=600, owner="o", group="g"),
        WriteEntry(path="/c", data=io.StringIO("text"), encoding="utf-16-le"),
    ]

    _, (call,) = drive(PROTOCOL.upload(SANDBOX, entries), ok())

    parts = list(call.parts)
    assert [p.name for p in parts] == ["metadata", "file"] * 3
    assert parts[0].filename
    assert parts[0].content == b'{"path":"/d/a.txt","owner":null,"group":null,"mode":755}'
    assert [p.content for p in parts[1::2]] == ["hé".encode(), b"\0", b"t\0e\0x\0t\0"]
    assert parts[1].filename == "a.txt"


@pytest.mark.parametrize(
    "entry",
    [WriteEntry(path="/a"), WriteEntry(path="/a", data="é", encoding="ascii")],
)
def test_upload_refuses_what_cannot_be_written(entry: WriteEntry) -> None:
    with pytest.raises(InvalidArgumentException):
        drive(PROTOCOL.upload(SANDBOX, [entry]))


def test_file_changes_are_sent_as_execd_wants_them() -> None:
    moves = [MoveEntry(src="/a", dest="/b")]
    permissions = [SetPermissionEntry(path="/a", mode=644, owner="root")]

    _, (move,) = drive(PROTOCOL.move(SANDBOX, moves), ok())
    _, (permit,) = drive(PROTOCOL.set_permissions(SANDBOX, permissions), ok())
    _, (delete,) = drive(PROTOCOL.delete_files(SANDBOX, ["/a", "/b"]), ok())

    assert sent(move) == [{"src": "/a", "dest": "/b"}]
    assert sent(permit) == {"/a": {"mode": 644, "owner": "root"}}
    assert delete.query == [("path", "/a"), ("path", "/b")]


def test_replace_counts_or_not_as_the_daemon_does() -> None:
    entries = [ContentReplaceEntry(path="/a", old_content="x", new_content="y")]

    counted, _ = drive(PROTOCOL.replace(SANDBOX, entries), ok({"/a": {"replacedCount": 2}}))
    silent, _ = drive(PROTOCOL.replace(SANDBOX, entries), ok())

    assert [(r.path, r.replaced_count) for r in counted] == [("/a", 2)]
    assert silent == []


def test_search_and_info_read_entries_with_and_without_a_type() -> None:
    untyped = {k: v for k, v in ENTRY.items() if k != "type"}

    found, _ = drive(PROTOCOL.search(SANDBOX, SearchEntry(path="/")), ok([ENTRY, untyped]))
    info, _ = drive(PROTOCOL.file_info(SANDBOX, ["/a"]), ok({"/a": ENTRY}))
    nothing, _ = drive(PROTOCOL.search(SANDBOX, SearchEntry(path="/")), ok([]))

    assert [e.entry_type for e in found] == ["file", None]
    assert info["/a"].mode == 644
    assert nothing == []


@pytest.mark.parametrize("body", [b'{"a":1}', b'[{"path":1}]', b'"x"'])
def test_a_listing_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(InvalidArgumentException):
        drive(PROTOCOL.search(SANDBOX, SearchEntry(path="/")), Reply(200, {}, body))


def test_metrics_have_units() -> None:
    answer = {
        "cpu_count": 2.0,
        "cpu_used_pct": 12.5,
        "mem_total_mib": 2048.0,
        "mem_used_mib": 20.5,
        "timestamp": 1,
    }

    metrics, _ = drive(PROTOCOL.metrics(SANDBOX), ok(answer))

    assert (metrics.cpu_used_percentage, metrics.memory_used_in_mib) == (12.5, 20.5)


def test_ping_raises_what_the_daemon_says() -> None:
    with pytest.raises(SandboxApiException, match="wrong token"):
        drive(PROTOCOL.ping(SANDBOX), ok({"error": "wrong token"}, 401))
