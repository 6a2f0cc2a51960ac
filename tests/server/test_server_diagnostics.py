"""What a person reads after something went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_driving import Box, Running, create_box, processes_of, start, wait_until

Create = Callable[..., Box]


def told(box: Box, kind: str, scope: str = "all") -> dict:
    answer = box.server.get(f"/v1/sandboxes/{box.id}/diagnostics/{kind}", params={"scope": scope})
    assert answer.status_code == 200, answer.text
    view = answer.json()
    assert (view["sandboxId"], view["kind"], view["scope"]) == (box.id, kind, scope)
    assert (view["delivery"], view["contentType"]) == ("inline", "text/plain; charset=utf-8")
    assert view["contentLength"] == len(view["content"].encode())
    return view


def test_logs_are_the_end_of_the_entrypoints_output(create: Create) -> None:
    box = create(entrypoint=["sh", "-c", "seq 1 5000; printf '\\377é\\n' >&2; exec sleep 1000"])
    assert wait_until(lambda: told(box, "logs")["content"].endswith("\ufffdé\n"))
    view = told(box, "logs", "container")
    assert view["content"].splitlines()[:2] == ["4902", "4903"]
    assert view["truncated"] is True

    answer = box.server.get(f"/v1/sandboxes/{box.id}/diagnostics/logs", params={"tail": 2})
    assert answer.text == "5000\n\ufffdé\n"
    assert answer.headers["deprecation"] == "true"
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_default_sandbox_has_no_log(create: Create) -> None:
    view = told(create(), "logs")
    assert (view["content"], view["truncated"]) == ("", False)
    assert "warnings" not in view


def test_events_tell_a_life(client: httpx.Client, create: Create) -> None:
    box = create()
    client.post(f"/v1/sandboxes/{box.id}/pause")
    assert told(box, "logs")["warnings"]
    client.post(f"/v1/sandboxes/{box.id}/resume")
    lines = told(box, "events", "runtime")["content"].splitlines()
    reasons = [line.split()[1] for line in lines]
    assert reasons == ["SANDBOX_RUNNING", "SANDBOX_PAUSED", "SANDBOX_RUNNING"]
    legacy = client.get(f"/v1/sandboxes/{box.id}/diagnostics/events?limit=1").text
    assert legacy.splitlines() == lines[-1:]
    for name in ("inspect", "summary"):
        text = client.get(f"/v1/sandboxes/{box.id}/diagnostics/{name}")
        assert box.id in text.text
        assert text.headers["deprecation"] == "true"


def test_events_are_bounded(client: httpx.Client, create: Create) -> None:
    box = create()
    for _ in range(60):
        client.post(f"/v1/sandboxes/{box.id}/pause")
        client.post(f"/v1/sandboxes/{box.id}/resume")
    view = told(box, "events")
    assert len(view["content"].splitlines()) == 50
    assert view["truncated"] is True
    assert len(client.get(f"/v1/sandboxes/{box.id}/diagnostics/events?limit=500").text) < 20_000


def test_out_of_memory_is_told(create: Create) -> None:
    box = create(resourceLimits={"cpu": "1", "memory": "128Mi"})
    if "memory is limited for each process" in box.now()["status"]["message"]:
        pytest.skip("no control group counts memory here")
    assert box.run("python3 -c 'b = bytearray(600 << 20)'")[0] not in {0, None}
    assert "OUT_OF_MEMORY" in told(box, "events")["content"]


def test_an_end_is_told_also_after_a_restart(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    first = start(home)
    with first.client() as client:
        box = create_box(client)
        for process in processes_of(home):
            if process.name() == "execd":
                process.kill()
        assert wait_until(lambda: box.now()["status"]["state"] == "Failed")
        before = told(box, "events")["content"]
        assert "SANDBOX_ENDED" in before
    first.kill()
    second = start(home)
    with second.client() as client:
        box = Box(client, box.info)
        assert told(box, "events")["content"] == before
        assert told(box, "logs")["warnings"]
    second.stop()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("{id}/diagnostics/logs?scope=runtime", 400, "DIAGNOSTICS_SCOPE_UNSUPPORTED"),
        ("{id}/diagnostics/events?scope=", 400, "DIAGNOSTICS_SCOPE_UNSUPPORTED"),
        ("{id}/diagnostics/logs?tail=0", 400, "SANDBOX::INVALID_PARAMETER"),
        ("{id}/diagnostics/events?limit=501", 400, "SANDBOX::INVALID_PARAMETER"),
        ("none/diagnostics/logs?scope=all", 404, "DOCKER::SANDBOX_NOT_FOUND"),
    ],
)
def test_what_is_refused(
    server: Running, client: httpx.Client, create: Create, path: str, status: int, code: str
) -> None:
    answer = client.get(f"/v1/sandboxes/{path.format(id=create().id)}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
