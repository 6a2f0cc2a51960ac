"""Volumes: named ones, and paths of the host that were allowed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from server_driving import Box, Running, assert_nothing_left, body, create_box, start

UIDS = [pytest.param(os.geteuid(), id="own"), pytest.param(23_456, id="ordinary")]


def claim(name: str = "data", path: str = "/data", **more: object) -> dict:
    about = ("createIfNotExists", "deleteOnSandboxTermination")
    pvc = {"claimName": name, **{key: more.pop(key) for key in about if key in more}}
    return {"name": "v", "mountPath": path, "pvc": pvc, **more}


def lent(path: Path | str, mount: str = "/mnt/host", **more: object) -> dict:
    return {"name": "h", "mountPath": mount, "host": {"path": str(path)}, **more}


def refusal(client: httpx.Client, *volumes: dict) -> str:
    answer = client.post("/v1/sandboxes", json=body(volumes=list(volumes)))
    assert answer.status_code == 400, answer.text
    return answer.json()["code"].removeprefix("VOLUME::")


@pytest.mark.parametrize("uid", UIDS)
def test_a_named_volume_is_shared_and_outlives(make_home: Callable[[int], Path], uid: int) -> None:
    home = make_home(uid)
    first = start(home, uid)
    with first.client() as client:
        one = create_box(client, volumes=[claim()])
        two = create_box(client, volumes=[claim(path="/srv/deep/er")])
        reader = create_box(client, volumes=[claim(readOnly=True)])
        one.output("echo from one > /data/file; mkdir /data/sub; echo inner > /data/sub/x")
        assert two.output("cat /srv/deep/er/file") == "from one"
        two.output("echo more >> /srv/deep/er/file")
        assert one.output("cat /data/file") == "from one\nmore"
        code, _, err = reader.run("cat /data/file && touch /data/no")
        assert code == 1
        assert "Read-only file system" in err
    first.kill()
    assert_nothing_left(home)
    second = start(home, uid)
    with second.client() as client:
        assert Box(client, one.info).output("cat /data/file") == "from one\nmore"
        client.delete(f"/v1/sandboxes/{one.id}")
        assert create_box(client, volumes=[claim()]).output("cat /data/sub/x") == "inner"
    second.stop()
    assert_nothing_left(home)


def test_sub_paths(client: httpx.Client) -> None:
    box = create_box(client, volumes=[claim()])
    box.output("mkdir /data/sub; echo inner > /data/sub/x; ln -s /etc /data/link; touch /data/file")
    two = [claim(subPath="sub"), {**claim(path="/made", subPath="a/b"), "name": "w"}]
    sub = create_box(client, volumes=two)
    assert sub.output("cat /data/x; touch /made/y; ls /data") == "inner\nx"
    assert box.output("ls /data/a/b") == "y"
    for path in ("link", "file", "link/ssl", "sub/../..", "/etc", "a\nb/.."):
        assert refusal(client, claim(subPath=path)) == "INVALID_SUB_PATH"


def test_volumes_that_go_with_their_sandbox(server: Running, client: httpx.Client) -> None:
    homes = server.home / "opensandbox/data/volumes"
    one, two = (
        create_box(client, volumes=[claim("gone", deleteOnSandboxTermination=True)])
        for _ in range(2)
    )
    one.output("mkdir -p /data/a/b; chmod 0 /data/a")
    client.delete(f"/v1/sandboxes/{one.id}")
    assert (homes / "gone").exists()
    client.delete(f"/v1/sandboxes/{two.id}")
    assert list(homes.iterdir()) == []
    assert refusal(client, claim("none", createIfNotExists=False)) == "PVC_NOT_FOUND"
    assert list(homes.iterdir()) == []
    assert client.get("/v1/sandboxes").json()["items"] == []


@pytest.mark.parametrize(
    ("volumes", "code"),
    [
        ([{**claim(), "name": "No"}], "INVALID_NAME"),
        ([claim(), claim(path="/other")], "DUPLICATE_NAME"),
        ([{"name": "v", "mountPath": "/data"}], "INVALID_BACKEND"),
        ([{**claim(), "host": {"path": "/tmp"}}], "INVALID_BACKEND"),
        ([{"name": "v", "mountPath": "/d", "ossfs": {"bucket": "b"}}], "UNSUPPORTED_BACKEND"),
        ([claim("../x")], "INVALID_PVC_NAME"),
        ([claim("..")], "INVALID_PVC_NAME"),
        ([claim("--bind")], "INVALID_PVC_NAME"),
        ([lent("/etc")], "HOST_PATH_NOT_ALLOWED"),
        ([lent("relative")], "INVALID_HOST_PATH"),
        ([lent("/tmp/../etc")], "INVALID_HOST_PATH"),
        ([claim(), {**claim(path="/data/in"), "name": "w"}], "INVALID_MOUNT_PATH"),
        *(
            ([claim(path=path)], "INVALID_MOUNT_PATH")
            for path in (
                "", "/", "//", "data", "/a/../b", "/proc", "/dev/x", "/usr/bin", "/opt",
                "/etc", "//etc/x", "/a\0b", "/a\nb", "/opt/opensandbox/lib",
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(door: httpx.Client, volumes: list[dict], code: str) -> None:
    assert refusal(door, *volumes) == code


@pytest.fixture(scope="module")
def door(make_home: Callable[[int], Path]) -> Iterator[httpx.Client]:
    running = start(make_home(os.geteuid()))
    with running.client() as client:
        yield client
    running.stop()


@pytest.fixture
def shared(make_home: Callable[[int], Path]) -> Iterator[Path]:
    """A directory with something in it, and a canary beside it."""
    top = make_home(os.geteuid())
    top.chmod(0o755)
    (top / "shared/inner").mkdir(parents=True)
    (top / "shared").chmod(0o777)
    (top / "shared/file").write_text("yours")
    (top / "secret").mkdir()
    (top / "secret/canary").write_text("canary-5512")
    yield top / "shared"


@pytest.mark.parametrize("uid", UIDS)
def test_host_paths(make_home: Callable[[int], Path], shared: Path, uid: int) -> None:
    (shared / "link").symlink_to(shared.parent / "secret")
    running = start(make_home(uid), uid, "--allow-host-path", str(shared))
    with running.client() as client:
        box = create_box(client, volumes=[lent(shared)])
        assert box.output("cat /mnt/host/file; echo new > /mnt/host/new") == "yours"
        assert (shared / "new").read_text() == "new\n"
        assert box.run("cat /mnt/host/link/canary")[0] == 1
        reader = create_box(client, volumes=[lent(f"{shared}/inner", readOnly=True)])
        assert reader.run("touch /mnt/host/no")[0] == 1
        for path, code in (
            (f"{shared}/link", "HOST_PATH_NOT_FOUND"),
            (f"{shared}/none", "HOST_PATH_NOT_FOUND"),
            (f"{shared}/file", "HOST_PATH_NOT_FOUND"),
            (shared.parent, "HOST_PATH_NOT_ALLOWED"),
            (f"{shared}-other", "HOST_PATH_NOT_ALLOWED"),
        ):
            assert refusal(client, lent(path)) == code
        assert refusal(client, lent(shared, subPath="link")) == "INVALID_SUB_PATH"
    running.stop()
    assert_nothing_left(running.home)


def test_a_path_that_is_swapped_for_a_link_is_refused(
    make_home: Callable[[int], Path], shared: Path
) -> None:
    inner, aside, link = shared / "inner", shared / "aside", shared / "link"
    (inner / "mine").write_text("mine")
    link.symlink_to(shared.parent / "secret")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for source, target in ((inner, aside), (link, inner), (inner, link), (aside, inner)):
                source.rename(target)
                over.wait(0.002)

    running = start(make_home(os.geteuid()), None, "--allow-host-path", str(shared))
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: list[tuple[int, str]] = []
    try:
        with running.client() as client:
            while sum(status != 400 or "moved" in said for status, said in seen) < 12:
                answer = client.post("/v1/sandboxes", json=body(volumes=[lent(inner)]))
                seen.append((answer.status_code, answer.text))
                if answer.status_code == 202:
                    box = Box(client, answer.json())
                    assert box.output("ls /mnt/host") == "mine"
                    client.delete(f"/v1/sandboxes/{box.id}")
                else:
                    assert answer.status_code in {400, 500}, answer.text
    finally:
        over.set()
        swapper.join()
    running.stop()
    assert_nothing_left(running.home)


def test_a_layer_cannot_lead_a_mount_elsewhere(client: httpx.Client) -> None:
    box = create_box(client)
    box.output("rm -rf /srv; ln -s /etc /srv")
    made = client.post(f"/v1/sandboxes/{box.id}/snapshots").json()
    with contextlib.suppress(KeyError):
        while client.get(f"/v1/snapshots/{made['id']}").json()["status"]["state"] == "Creating":
            pass
    wanted = {**body(volumes=[claim(path="/srv/data")]), "snapshotId": made["id"]}
    wanted.pop("image")
    answer = client.post("/v1/sandboxes", json=wanted)
    assert answer.status_code == 202, answer.text
    again = Box(client, answer.json())
    assert again.output("touch /srv/data/x; ls -d /etc/data 2>&1; ls /srv").splitlines()[-1] == (
        "data"
    )
