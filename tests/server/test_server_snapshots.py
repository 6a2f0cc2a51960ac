"""Snapshots of a layer that belongs to somebody hostile, and sandboxes that begin from them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_driving import (
    Box,
    Running,
    assert_nothing_left,
    body,
    create_box,
    start,
    wait_until,
)

Create = Callable[..., Box]
UIDS = [pytest.param(os.geteuid(), id="own"), pytest.param(23_456, id="ordinary")]

HOSTILE = r"""
import os, socket
os.chdir('/workspace')
open('plain', 'w').write('precious')
os.chmod('plain', 0o640)
os.symlink('/etc/shadow', 'link'); os.symlink('loop', 'loop')
os.symlink('CANARY', 'to-canary'); os.symlink('..', 'up')
os.mkfifo('fifo')
socket.socket(socket.AF_UNIX).bind('socket')
open('one', 'w').write('linked'); os.link('one', 'two'); os.link('one', 'three')
with open('sparse', 'w') as file:
    file.truncate(1 << 40); file.seek(1 << 39); file.write('middle')
open('closed', 'w').write('closed'); os.chmod('closed', 0)
os.mkdir('shut'); open('shut/in', 'w').write('in'); os.chmod('shut', 0)
open(b'\xff\xfe', 'w').close(); open('a' * 255, 'w').close()
open('suid', 'w').close(); os.chmod('suid', 0o4755)
for _ in range(3000):
    os.mkdir('d'); os.chdir('d')
open('deepest', 'w').write('deep')
"""

LOOK = r"""
import os, stat
os.chdir('/workspace')
assert open('plain').read() == 'precious'
assert stat.S_IMODE(os.stat('plain').st_mode) == 0o640
assert os.readlink('link') == '/etc/shadow' and os.readlink('up') == '..'
assert stat.S_ISFIFO(os.stat('fifo').st_mode)
assert not os.path.lexists('socket')
assert os.stat('one').st_ino == os.stat('two').st_ino == os.stat('three').st_ino
assert os.stat('one').st_nlink == 3
with open('sparse') as file:
    file.seek(1 << 39); assert file.read(6) == 'middle'
assert os.stat('sparse').st_size == 1 << 40 and os.stat('sparse').st_blocks < 1000
assert stat.S_IMODE(os.stat('closed').st_mode) == 0 == stat.S_IMODE(os.stat('shut').st_mode)
os.chmod('closed', 0o600); assert open('closed').read() == 'closed'
os.chmod('shut', 0o700); assert open('shut/in').read() == 'in'
assert os.path.exists(b'\xff\xfe') and os.path.exists('a' * 255)
assert not os.stat('suid').st_mode & stat.S_ISUID
assert all(os.lstat(name).st_uid == 0 for name in ('plain', 'link', 'fifo', 'shut', 'shut/in'))
for _ in range(3000):
    os.chdir('d')
assert open('deepest').read() == 'deep'
print('all there')
"""


def taken(box: Box, name: str | None = None) -> dict:
    """Take a snapshot and wait until it is ready."""
    answer = box.server.post(
        f"/v1/sandboxes/{box.id}/snapshots", json=None if name is None else {"name": name}
    )
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/snapshots/{made['id']}"
    assert (made["status"]["state"], made["status"]["reason"]) == ("Creating", "snapshot_accepted")

    def now() -> dict:
        return box.server.get(f"/v1/snapshots/{made['id']}").json()

    assert wait_until(lambda: now()["status"]["state"] != "Creating", 50)
    assert now()["status"]["state"] == "Ready", now()
    return now()


def restored(client: httpx.Client, snapshot: dict) -> Box:
    answer = client.post("/v1/sandboxes", json=restoring(snapshot["id"]))
    assert answer.status_code == 202, answer.text
    return Box(client, answer.json())


def restoring(snapshot_id: str, **more: object) -> dict:
    wanted = {**body(), "snapshotId": snapshot_id, **more}
    return {key: value for key, value in wanted.items() if key not in {"image", "entrypoint"}}


@pytest.mark.parametrize("uid", UIDS)
def test_a_hostile_layer_is_kept_and_restored(make_home: Callable[[int], Path], uid: int) -> None:
    home = make_home(uid)
    canary = home / "canary"
    canary.write_text("canary-4411")
    running = start(home, uid)
    with running.client() as client:
        box = create_box(client)
        box.output(f"python3 - <<'END'\n{HOSTILE.replace('CANARY', str(canary))}\nEND")
        snapshot = taken(box, "first")
        assert (snapshot["name"], snapshot["sandboxId"]) == ("first", box.id)
        assert box.output("cat /workspace/plain; cat /workspace/shut/in 2>&1 | tail -c 2") != ""
        client.delete(f"/v1/sandboxes/{box.id}")

        again = restored(client, snapshot)
        assert again.now()["snapshotId"] == snapshot["id"]
        assert again.info["entrypoint"] == ["tail", "-f", "/dev/null"]
        assert again.output(f"python3 - <<'END'\n{LOOK}\nEND") == "all there"
        assert again.run("cat /workspace/to-canary")[0] == 1
        kept = home / "opensandbox/data/snapshots" / snapshot["id"]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        assert sorted(path.name for path in kept.iterdir()) == ["root"]
        assert client.delete(f"/v1/snapshots/{snapshot['id']}").status_code == 204
        assert not kept.exists()
        assert again.output("cat /workspace/plain") == "precious"
        assert client.delete(f"/v1/sandboxes/{again.id}").status_code == 204
    running.stop()
    assert_nothing_left(home)


def test_the_sandbox_goes_on_and_the_two_are_apart(client: httpx.Client, create: Create) -> None:
    box = create()
    box.output("(while :; do date +%N > /workspace/beat; sleep 0.01; done) > /dev/null 2>&1 &")
    box.output("echo before > /workspace/file")
    snapshot = taken(box)
    assert "name" not in snapshot
    beat = box.output("cat /workspace/beat")
    assert wait_until(lambda: box.output("cat /workspace/beat") != beat)
    box.output("echo after > /workspace/file")
    one, two = restored(client, snapshot), restored(client, snapshot)
    one.output("echo mine > /workspace/file")
    assert two.output("cat /workspace/file") == "before"
    assert two.output("pip --version | cut -d' ' -f1; echo $OPENSANDBOX_ID").split() == [
        "pip",
        two.id,
    ]


def test_a_list_is_filtered_and_paged(client: httpx.Client, create: Create) -> None:
    first, second = create(), create()
    made = [taken(first, "a"), taken(first, "b"), taken(second, "a")]

    def listed(**query: object) -> list[str]:
        answer = client.get("/v1/snapshots", params=query)
        assert answer.status_code == 200
        return [item["id"] for item in answer.json()["items"]]

    newest_first = [one["id"] for one in reversed(made)]
    assert listed() == newest_first
    assert listed(sandboxId=first.id) == newest_first[1:]
    assert listed(name="a", state=["Ready", "Failed"]) == [newest_first[0], newest_first[2]]
    assert listed(state="creating") == []
    assert listed(page=2, pageSize=2) == newest_first[2:]
    page = client.get("/v1/snapshots?pageSize=2").json()["pagination"]
    assert page == {
        "page": 1, "pageSize": 2, "totalItems": 3, "totalPages": 2, "hasNextPage": True
    }  # fmt: skip


def test_what_is_refused(client: httpx.Client, create: Create) -> None:
    box = create()
    unknown = client.post("/v1/sandboxes", json=restoring("none"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "SNAPSHOT::NOT_FOUND")
    for method in ("GET", "DELETE"):
        assert client.request(method, "/v1/snapshots/none").json()["code"] == "SNAPSHOT::NOT_FOUND"
    both = client.post("/v1/sandboxes", json={**body(), "snapshotId": "x"})
    assert (both.status_code, both.json()["code"]) == (400, "SANDBOX::INVALID_PARAMETER")
    assert client.post(f"/v1/sandboxes/{box.id}/snapshots", json={"name": ""}).status_code == 400
    form = {"Content-Type": "text/plain"}
    path = f"/v1/sandboxes/{box.id}/snapshots"
    assert client.post(path, content="{}", headers=form).status_code == 415
    assert client.get("/v1/snapshots?pageSize=201").status_code == 400
    client.post(f"/v1/sandboxes/{box.id}/pause")
    paused = client.post(f"/v1/sandboxes/{box.id}/snapshots")
    assert (paused.status_code, paused.json()["code"]) == (409, "SNAPSHOT::INVALID_SOURCE_STATE")
    assert client.post("/v1/sandboxes/none/snapshots").status_code == 404


def test_a_server_killed_while_copying(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    first = start(home)
    with first.client() as client:
        box = create_box(client)
        box.output("mkdir /workspace/many; cd /workspace/many; seq 1 20000 | xargs touch")
        kept = taken(box)
        made = client.post(f"/v1/sandboxes/{box.id}/snapshots").json()
        begun = home / "opensandbox/data/snapshots" / made["id"]
        assert wait_until(begun.exists)
        refused = client.delete(f"/v1/snapshots/{made['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "SNAPSHOT::INVALID_STATE")
        early = client.post("/v1/sandboxes", json=restoring(made["id"]))
        assert (early.status_code, early.json()["code"]) == (409, "SNAPSHOT::NOT_READY")
    first.kill()
    assert_nothing_left(home)
    second = start(home)
    with second.client() as client:
        now = client.get(f"/v1/snapshots/{made['id']}").json()
        assert now["status"]["state"] == "Failed"
        assert now["status"]["message"]
        assert [path.name for path in begun.parent.iterdir()] == [kept["id"]]
        assert restored(client, kept).output("ls /workspace/many | wc -l") == "20000"
        assert client.delete(f"/v1/snapshots/{made['id']}").status_code == 204
    second.stop()


def test_no_snapshot_route_without_the_key(server: Running) -> None:
    for path in ("/v1/snapshots", "/v1/snapshots/x", "/snapshots"):
        assert httpx.get(server.url + path).status_code == 401
