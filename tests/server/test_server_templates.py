"""Templates: built once, and sandboxes that begin from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_driving import Box, Running, assert_nothing_left, body, create_box, start, wait_until

WANTED = {"image": "python", "publish": "here"}


def build(client: httpx.Client, **more: object) -> dict:
    answer = client.post("/v1/templates", json={**WANTED, **more})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["status"]["phase"] in {"Pending", "Building"}
    url = f"/v1/templates/{made['templateId']}"
    assert wait_until(
        lambda: client.get(url).json()["status"]["phase"] not in {"Pending", "Building"}
    )
    return client.get(url).json()


def begin(client: httpx.Client, template: dict, **more: object) -> httpx.Response:
    return client.post(
        "/v1/sandboxes", json={"templateId": template["templateId"], "timeout": 600, **more}
    )


def test_a_template_from_build_to_delete(
    make_home: Callable[[int], Path],
) -> None:
    home = make_home(os.geteuid())
    running = start(home)
    with running.client() as client:
        template = build(
            client,
            entrypoint=["sh", "-c", "sleep 0.5; echo warm > /workspace/state; sleep 1000"],
            env={"FROM_TEMPLATE": "yes"},
            metadata={"team": "a"},
            resourceLimits={"cpu": "1", "memory": "256Mi"},
            readiness={"probe": "cmd://test -s /workspace/state"},
        )
        assert template["status"]["phase"] == "Succeeded", template
        assert template["metadata"] == {"team": "a"}
        assert client.get("/v1/sandboxes").json()["items"] == []
        assert client.get("/v1/snapshots").json()["items"] == []

        answer = begin(client, template, metadata={"mine": "1"})
        assert answer.status_code == 202, answer.text
        box = Box(client, answer.json())
        assert box.output("cat /workspace/state; echo $FROM_TEMPLATE").split() == ["warm", "yes"]
        assert box.now()["templateId"] == template["templateId"]
        assert box.now()["metadata"] == {"mine": "1"}
        assert not {"snapshotId", "image"} & box.now().keys()
    running.kill()
    assert_nothing_left(home)
    second = start(home)
    with second.client() as client:
        assert Box(client, box.info).output("cat /workspace/state") == "warm"
        assert begin(client, template).status_code == 202
        found = client.get("/v1/templates", params={"metadata": "team=a"}).json()
        assert [one["templateId"] for one in found["items"]] == [template["templateId"]]
        assert client.get("/v1/templates?metadata=team%3Db").json()["items"] == []
        assert client.delete(f"/v1/templates/{template['templateId']}").status_code == 204
        answer = begin(client, template)
        assert (answer.status_code, answer.json()["code"]) == (404, "FSB::TEMPLATE_NOT_FOUND")
        assert Box(client, box.info).output("cat /workspace/state") == "warm"
    second.stop()
    assert list((home / "opensandbox/data/snapshots").iterdir()) == []


def test_a_template_that_cannot_be_built_says_why(client: httpx.Client) -> None:
    suicide = ["sh", "-c", "sleep 0.5; kill -9 -1"]
    template = build(client, entrypoint=suicide, readiness={"probe": "cmd://sleep 5; false"})
    assert template["status"]["phase"] == "Failed"
    assert template["status"]["message"]
    assert client.get("/v1/sandboxes").json()["items"] == []
    answer = begin(client, template)
    assert (answer.status_code, answer.json()["code"]) == (409, "FSB::TEMPLATE_CONFLICT")
    assert client.delete(f"/v1/templates/{template['templateId']}").status_code == 204


def test_a_server_that_ends_while_building(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    running = start(home)
    with running.client() as client:
        wanted = {**WANTED, "readiness": {"warmupSeconds": 100}}
        made = client.post("/v1/templates", json=wanted).json()
        assert wait_until(lambda: client.get("/v1/sandboxes").json()["items"])
        assert client.delete(f"/v1/templates/{made['templateId']}").status_code == 409
    running.kill()
    assert_nothing_left(home)
    second = start(home)
    with second.client() as client:
        status = client.get(f"/v1/templates/{made['templateId']}").json()["status"]
        assert status["phase"] == "Failed"
        assert "ended" in status["message"]
        assert client.get("/v1/sandboxes").json()["items"] == []
    second.stop()


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"image": " ", "publish": "x"}, 400),
        ({"image": "python"}, 400),
        ({**WANTED, "unknown": 1}, 400),
        ({**WANTED, "readiness": {"probe": "http://x"}}, 400),
        ({**WANTED, "readiness": {"warmupSeconds": -1}}, 400),
        ({**WANTED, "image": "nothing:1"}, 404),
        ({**WANTED, "metadata": {"a b": "c"}}, 400),
    ],
)
def test_what_is_refused(client: httpx.Client, wanted: dict, status: int) -> None:
    answer = client.post("/v1/templates", json=wanted)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert client.get("/v1/templates").json()["items"] == []


def test_a_template_says_all(server: Running, client: httpx.Client) -> None:
    template = build(client)
    for extra in ({"image": {"uri": "python"}}, {"env": {"A": "b"}}, {"entrypoint": ["x"]}):
        answer = begin(client, template, **extra)
        assert answer.status_code == 400
        assert next(iter(extra)) in answer.json()["message"]
    assert (
        client.post("/v1/sandboxes", json=body(templateId=template["templateId"])).status_code
        == 400
    )
    answer = client.post("/v1/sandboxes", json={"templateId": template["templateId"]})
    assert "timeout" in answer.json()["message"]
    assert create_box(client).output("echo fine") == "fine"
