from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psutil
import pytest
from server_driving import KEY, Box, Running, body, processes_of, wait_until

Create = Callable[..., Box]


def test_a_sandbox_from_create_to_delete(
    server: Running, client: httpx.Client, create: Create
) -> None:
    box = create(metadata={"team": "red"}, env={"GREETING": "hello", "GONE": None})

    assert box.info["status"]["state"] == "Running"
    assert box.info["entrypoint"] == ["tail", "-f", "/dev/null"]
    assert "expiresAt" in box.info
    assert "image" not in box.info
    assert box.now()["image"] == {"uri": "python"}
    assert "this host's own file system" in box.now()["status"]["message"]
    assert box.output("echo $GREETING ${GONE-unset} $HOME $PWD") == "hello unset /root /workspace"

    assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    assert not processes_of(server.home)
    assert not list((server.home / "opensandbox/data/sandboxes").iterdir())
    for answer in (
        client.get(f"/v1/sandboxes/{box.id}"),
        client.delete(f"/v1/sandboxes/{box.id}"),
        client.get(f"/v1/sandboxes/{box.id}/endpoints/44772"),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "DOCKER::SANDBOX_NOT_FOUND"


def test_a_create_that_nobody_waits_for_is_undone(server: Running, client: httpx.Client) -> None:
    wanted = json.dumps(body()).encode()
    request = (
        f"POST /v1/sandboxes HTTP/1.1\r\nHost: {server.url[7:]}\r\n{KEY}: {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(wanted)}\r\n\r\n"
    ).encode() + wanted
    host, port = server.url[7:].split(":")
    impatient = socket.create_connection((host, int(port)))
    impatient.sendall(request)
    wait_until(lambda: client.get("/v1/sandboxes").json()["items"])
    impatient.close()

    wait_until(lambda: not client.get("/v1/sandboxes").json()["items"])
    wait_until(lambda: not processes_of(server.home))


def test_answers_hold_no_nulls(client: httpx.Client, create: Create) -> None:
    box = create(timeout=None)

    assert "expiresAt" not in box.info
    for path in ("", f"/{box.id}", f"/{box.id}/endpoints/18080"):
        assert ":null" not in client.get(f"/v1/sandboxes{path}").text


def test_routes_are_also_without_version(client: httpx.Client) -> None:
    assert client.get("/sandboxes").json() == client.get("/v1/sandboxes").json()


def test_python_inside_is_a_private_environment(create: Create) -> None:
    box = create()

    assert box.output("which python3 python pip") == "\n".join(
        f"/opt/venv/bin/{name}" for name in ("python3", "python", "pip")
    )
    assert box.output("python3 -c 'import sys; print(sys.prefix)'") == "/opt/venv"
    assert "site-packages" in box.output(
        "python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'"
    )
    paths = box.output("python3 -c 'import sys; print(sys.path)'")
    assert ".venv" not in paths
    assert "/opt/opensandbox" not in paths


def test_what_apt_cannot_do_is_said(create: Create) -> None:
    if not Path("/usr/bin/apt-get").exists():
        pytest.skip("this host has no apt-get")
    box = create()
    code, _, said = box.run("apt-get -y install hello")
    assert code == 100
    assert "image import" in said
    assert box.output("apt-get --version").startswith("apt ")


def test_the_file_of_variables_can_be_written(create: Create) -> None:
    box = create()
    box.output('echo COLOUR=blue >> "$EXECD_ENVS"')
    assert box.output("echo $COLOUR") == "blue"


def test_endpoints(client: httpx.Client, create: Create) -> None:
    box = create()
    found = {
        port: client.get(f"/v1/sandboxes/{box.id}/endpoints/{port}?use_server_proxy=false").json()
        for port in (44772, 18080, 8080)
    }

    base = found[44772]["endpoint"]
    assert base.startswith("127.0.0.1:")
    server = f"{client.base_url.host}:{client.base_url.port}"
    assert found[18080]["endpoint"] == f"{server}/egress/{box.id}"
    assert list(found.pop(18080)["headers"]) == ["OPENSANDBOX-EGRESS-AUTH"]
    assert found[8080]["endpoint"] == f"{base}/proxy/8080"
    assert all(list(one["headers"]) == ["X-EXECD-ACCESS-TOKEN"] for one in found.values())


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "99999999999"])
def test_a_port_that_is_none(client: httpx.Client, create: Create, port: str) -> None:
    answer = client.get(f"/v1/sandboxes/{create().id}/endpoints/{port}")
    assert (answer.status_code, answer.json()["code"]) == (400, "DOCKER::INVALID_PORT")


def test_a_token_opens_one_sandbox_only(create: Create) -> None:
    one, other = create(), create()
    with one.execd() as mine, other.execd() as theirs:
        theirs.headers["X-EXECD-ACCESS-TOKEN"] = mine.headers["X-EXECD-ACCESS-TOKEN"]
        assert mine.get("/ping").status_code == 200
        assert theirs.get("/ping").status_code == 401


def test_metadata_is_merged(client: httpx.Client, create: Create) -> None:
    box = create(metadata={"a": "1", "b": "2"})
    answer = client.patch(f"/v1/sandboxes/{box.id}/metadata", json={"b": None, "c": "3"})

    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"a": "1", "c": "3"}
    refused = client.patch(f"/v1/sandboxes/{box.id}/metadata", json={"opensandbox.io/x": "1"})
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_METADATA_LABEL")
    client.patch(f"/v1/sandboxes/{box.id}/metadata", json={"a": None, "c": None})
    assert "metadata" not in box.now()


def test_a_list_is_filtered_and_paged(client: httpx.Client, create: Create) -> None:
    boxes = [create(metadata={"n": str(n), "odd": str(n % 2)}) for n in range(3)]
    newest_first = [box.id for box in reversed(boxes)]

    def listed(**query: object) -> tuple[list[str], dict]:
        answer = client.get("/v1/sandboxes", params=query)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]], answer.json()["pagination"]

    assert listed()[0] == newest_first
    assert listed(pageSize=2) == (
        newest_first[:2],
        {"page": 1, "pageSize": 2, "totalItems": 3, "totalPages": 2, "hasNextPage": True},
    )
    assert listed(pageSize=2, page=2)[0] == newest_first[2:]
    assert listed(page=9)[0] == []
    assert listed(metadata=urlencode({"odd": "0"}))[0] == [boxes[2].id, boxes[0].id]
    assert listed(metadata=urlencode({"odd": "0", "n": "2"}))[0] == [boxes[2].id]
    assert listed(metadata=urlencode({"a b": "c&d=e"}))[0] == []
    assert listed(state=["paused", "RUNNING"])[0] == newest_first
    empty = listed(state="Paused")[1]
    assert (empty["totalItems"], empty["totalPages"], empty["hasNextPage"]) == (0, 0, False)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("pageSize=201", "SANDBOX::INVALID_PARAMETER"),
        ("page=0", "SANDBOX::INVALID_PARAMETER"),
        ("page=x", "SANDBOX::INVALID_PARAMETER"),
        ("metadata=novalue", "INVALID_METADATA_FORMAT"),
    ],
)
def test_a_query_that_is_none(client: httpx.Client, query: str, code: str) -> None:
    answer = client.get(f"/v1/sandboxes?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"image": None}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"image": {"uri": "alpine"}}, 404, "DOCKER::SANDBOX_IMAGE_NOT_FOUND"),
        ({"image": {"uri": "--bind"}}, 404, "DOCKER::SANDBOX_IMAGE_NOT_FOUND"),
        ({"image": {"uri": "python:2.7"}}, 404, "DOCKER::SANDBOX_IMAGE_NOT_FOUND"),
        ({"timeout": 59}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"timeout": "600"}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"timeout": 10**40}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"resourceLimits": None}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"resourceLimits": {"cpu": 1}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"resourceLimits": {"memory": "1.5Gi"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"resourceLimits": {"cpu": "many"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"entrypoint": []}, 400, "DOCKER::INVALID_ENTRYPOINT"),
        ({"env": {"A=B": "1"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"env": {"A": "x\0y"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"env": {"OPENSANDBOX_LIFECYCLE": "1"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"metadata": {"k": "two words"}}, 400, "SANDBOX::INVALID_METADATA_LABEL"),
        ({"metadata": {"opensandbox.io/k": "v"}}, 400, "SANDBOX::INVALID_METADATA_LABEL"),
        ({"platform": {"os": "windows", "arch": "amd64"}}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"snapshotId": "s", "image": None}, 404, "SNAPSHOT::NOT_FOUND"),
        ({"templateId": "t"}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"volumes": [{"name": "v"}]}, 400, "SANDBOX::INVALID_PARAMETER"),
        ({"networkPolicy": {"defaultAction": "maybe"}}, 400, "SANDBOX::INVALID_PARAMETER"),
    ],
    ids=str,
)
def test_what_cannot_be_created(
    server: Running, client: httpx.Client, change: dict, status: int, code: str
) -> None:
    answer = client.post("/v1/sandboxes", json=body(**change))

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"code", "message"}
    assert client.get("/v1/sandboxes").json()["items"] == []
    assert not list((server.home / "opensandbox/data/sandboxes").iterdir())


def test_a_missing_image_lists_what_there_is(client: httpx.Client) -> None:
    answer = client.post("/v1/sandboxes", json=body(image={"uri": "alpine:3"}))
    message = answer.json()["message"]
    assert "python:3." in message
    assert "ubuntu" in message


def test_options_reach_the_sandbox_as_data(create: Create) -> None:
    box = create(env={"--bind": "/ /", "-c": "x", "NEW\nLINE": "a\nb"}, entrypoint=["--bind", "-c"])
    assert box.output("env -0 | tr '\\0\\n' '\\n;' | grep LINE") == "NEW;LINE=a;b"


def test_pause_really_stops_processes(client: httpx.Client, create: Create) -> None:
    box = create()
    box.output("(while :; do date +%s%N > tock; mv tock tick; sleep 0.01; done) > /dev/null 2>&1 &")
    read = "cat /workspace/tick"
    assert wait_until(lambda: box.run(read)[1])

    def pause(expected: int) -> None:
        assert client.post(f"/v1/sandboxes/{box.id}/pause").status_code == expected

    pause(202)
    assert box.now()["status"]["state"] == "Paused"
    pause(409)
    with pytest.raises(httpx.TransportError):
        box.run(read)
    paused_at = time.time_ns()
    time.sleep(0.3)
    resumed_at = time.time_ns()
    assert client.post(f"/v1/sandboxes/{box.id}/resume").status_code == 202
    assert client.post(f"/v1/sandboxes/{box.id}/resume").json()["code"] == (
        "DOCKER::SANDBOX_NOT_PAUSED"
    )
    assert box.now()["status"]["state"] == "Running"
    tick = int(box.output(read))
    assert tick < paused_at or tick > resumed_at
    assert wait_until(lambda: int(box.run(read)[1] or 0) > resumed_at)


def test_a_paused_sandbox_can_be_deleted(
    server: Running, client: httpx.Client, create: Create
) -> None:
    box = create()
    client.post(f"/v1/sandboxes/{box.id}/pause")
    assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    assert not processes_of(server.home)


def soon(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def test_expiry_is_a_delete(server: Running, client: httpx.Client, create: Create) -> None:
    box = create()
    path = f"/v1/sandboxes/{box.id}/renew-expiration"
    answer = client.post(path, json={"expiresAt": soon(0.5)})

    assert answer.status_code == 200
    assert list(answer.json()) == ["expiresAt"]
    assert wait_until(lambda: client.get(f"/v1/sandboxes/{box.id}").status_code == 404)
    assert not processes_of(server.home)


def test_renewing_moves_the_expiry(client: httpx.Client, create: Create) -> None:
    box, for_ever = create(), create(timeout=None)
    path = f"/v1/sandboxes/{box.id}/renew-expiration"
    client.post(path, json={"expiresAt": soon(0.5)})
    client.post(path, json={"expiresAt": soon(600)})
    time.sleep(0.8)

    assert box.output("echo still here") == "still here"
    for text in (soon(-5), "tomorrow", ""):
        answer = client.post(path, json={"expiresAt": text})
        assert (answer.status_code, answer.json()["code"]) == (400, "DOCKER::INVALID_EXPIRATION")
    answer = client.post(
        f"/v1/sandboxes/{for_ever.id}/renew-expiration", json={"expiresAt": soon(600)}
    )
    assert answer.status_code == 409


def test_hard_trees_are_deleted(server: Running, client: httpx.Client, create: Create) -> None:
    box = create()
    box.output(
        "python3 - <<'END'\n"
        "import os\n"
        "for _ in range(10_000):\n"
        "    os.mkdir('d'); os.chdir('d')\n"
        "os.mkdir('/workspace/closed'); open('/workspace/closed/f', 'w').close()\n"
        "os.symlink('/', '/workspace/link'); os.mkfifo('/workspace/fifo')\n"
        "os.mkdir('/workspace/.removing-0'); open('/workspace/.removing-1', 'w').close()\n"
        "open(b'/workspace/\\xff\\xfe', 'w').close()\n"
        "os.chmod('/workspace/closed', 0); os.chmod('/', 0)\n"
        "END"
    )
    assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    assert not list((server.home / "opensandbox/data/sandboxes").glob(box.id))
    trash = server.home / "opensandbox/data/trash"
    assert wait_until(lambda: not list(trash.iterdir()), 120)


def test_a_dead_sandbox_is_noticed(server: Running, client: httpx.Client, create: Create) -> None:
    box, other = create(), create()
    (execd,) = (
        process
        for process in processes_of(server.home)
        if box.id in Path(f"/proc/{process.pid}/mountinfo").read_text()
        and "execd" in " ".join(process.cmdline())
        and process.name() != "bwrap"
    )
    psutil.Process(execd.pid).kill()

    assert wait_until(lambda: box.now()["status"]["state"] == "Failed")
    assert box.now()["status"]["reason"] == "SANDBOX_ENDED"
    answer = client.get(f"/v1/sandboxes/{box.id}/endpoints/44772")
    assert (answer.status_code, answer.json()["code"]) == (409, "DOCKER::SANDBOX_NOT_RUNNING")
    assert other.output("echo fine") == "fine"
    assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204


@pytest.mark.parametrize(
    "path",
    ["/pools", "/pools/p"],
)
def test_rooms_that_are_empty_yet(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1{path}")
    assert (answer.status_code, answer.json()["code"]) == (501, "SANDBOX::API_NOT_SUPPORTED")


def test_telemetry_is_swallowed(client: httpx.Client) -> None:
    event = {"eventType": "sandbox.create", "success": True}
    assert client.post("/v1/metrics/events", json=event).status_code == 204
    assert client.post("/metrics/events", json=event).status_code == 404
