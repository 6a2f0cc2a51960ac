"""Commands that belong to a sandbox's life: before its entrypoint, and again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
import pytest
from server_driving import Box, Running, create_box, start, wait_until

from opensandbox_jupyter.hosting.schedules import Schedule


def events_of(box: Box) -> str:
    answer = box.server.get(f"/v1/sandboxes/{box.id}/diagnostics/events?scope=all")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"])


def hook(script: str, **more: object) -> dict[str, object]:
    return {"command": ["sh", "-c", script], **more}


def test_the_hook_comes_before_the_entrypoint_and_sees_its_environment(
    create: Callable[..., Box],
) -> None:
    box = create(
        env={"GREETING": "hello"},
        entrypoint=["sh", "-c", "cp /tmp/first /tmp/second; echo started; exec sleep 600"],
        lifecycle={"preStart": hook('echo "said $GREETING"; echo $PWD >/tmp/first; sleep 0.3')},
    )
    assert wait_until(lambda: box.run("cat /tmp/second")[1] == "/workspace\n")
    assert "HOOK preStart ended well" in events_of(box)
    logs = box.server.get(f"/v1/sandboxes/{box.id}/diagnostics/logs?scope=all").json()["content"]
    assert logs == "preStart: said hello\nstarted\n"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (hook("echo no database >&2; exit 7"), "exit status 7. It said: no database"),
        (hook("sleep 600", timeoutSeconds=1), "longer than 1 s"),
        ({"command": ["/no/such/program"]}, "No such file"),
    ],
)
def test_a_hook_that_fails_fails_the_create_and_leaves_nothing(
    server: Running, client: httpx.Client, wanted: dict[str, object], reason: str
) -> None:
    answer = create_box_raw(client, lifecycle={"preStart": wanted}, entrypoint=["touch", "/x"])
    assert answer.status_code == 500
    assert answer.json()["code"] == "DOCKER::SANDBOX_START_FAILED"
    assert reason in answer.json()["message"]
    assert client.get("/v1/sandboxes").json()["items"] == []


def create_box_raw(client: httpx.Client, **more: object) -> httpx.Response:
    body = {"image": {"uri": "python"}, "resourceLimits": {"cpu": "1"}, "timeout": 600, **more}
    return client.post("/v1/sandboxes", json=body, timeout=60)


def test_a_sandbox_is_deleted_while_its_hook_runs(client: httpx.Client) -> None:
    def pending() -> list[str]:
        found = client.get("/v1/sandboxes", params={"state": "Pending"}).json()["items"]
        return [one["id"] for one in found]

    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(create_box_raw, client, lifecycle={"preStart": hook("sleep 600")})
        assert wait_until(lambda: bool(pending()))
        assert wait_until(lambda: client.delete(f"/v1/sandboxes/{pending()[0]}").status_code == 204)
        assert creating.result().status_code == 409
    assert client.get("/v1/sandboxes").json()["items"] == []


def test_periodic_hooks_never_overlap_and_go_on_after_failures(create: Callable[..., Box]) -> None:
    box = create(
        lifecycle={
            "periodic": [
                {"name": "quick", "schedule": "@every 1s", **hook("echo tick >>/tmp/ticks")},
                {"name": "bad", "schedule": "@every 1s", **hook("exit 3")},
                {"name": "slow", "schedule": "@every 1s", **hook("echo s >>/tmp/slow; sleep 600")},
                {"name": "late", "schedule": "@yearly", **hook("touch /tmp/late")},
            ]
        }
    )
    assert wait_until(lambda: box.run("cat /tmp/ticks")[1].count("tick") >= 3)
    assert wait_until(lambda: events_of(box).count("HOOK bad failed: exit status 3") >= 2)
    assert wait_until(lambda: "HOOK slow left out" in events_of(box))
    assert box.output("cat /tmp/slow") == "s"
    assert box.run("ls /tmp/late")[0] != 0


def test_a_periodic_hook_has_its_time_and_is_gone_with_the_sandbox(
    create: Callable[..., Box],
) -> None:
    box = create(
        lifecycle={
            "periodic": [
                {
                    "name": "long",
                    "schedule": "@every 1s",
                    **hook("sleep 4321 & sleep 4321", timeoutSeconds=1),
                }
            ]
        }
    )
    assert wait_until(lambda: "it ran longer than 1 s" in events_of(box))
    assert box.server.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    # the fixture proves that no process is left


def test_nothing_runs_while_a_sandbox_is_paused(create: Callable[..., Box]) -> None:
    """Another sandbox with the same hook shows that there was time for it."""
    wanted = {"name": "tick", "schedule": "@every 1s", **hook("cat /proc/uptime >>/tmp/ticks")}
    box, other = (create(lifecycle={"periodic": [wanted]}) for _ in range(2))

    def ticks(of: Box) -> list[float]:
        code, text, _ = of.run("cat /tmp/ticks")
        return [float(line.split()[0]) for line in text.splitlines()] if code == 0 else []

    def state() -> str:
        return str(box.server.get(f"/v1/sandboxes/{box.id}").json()["status"]["state"])

    assert wait_until(lambda: ticks(box) and ticks(other))
    assert box.server.post(f"/v1/sandboxes/{box.id}/pause").status_code == 202
    assert wait_until(lambda: state() == "Paused")
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    answer = box.server.get(f"/v1/sandboxes/{box.id}/diagnostics/events?scope=all").json()
    assert "hooks" in answer["warnings"][0]
    assert wait_until(lambda: sum(tick > begin for tick in ticks(other)) >= 2)
    end = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert box.server.post(f"/v1/sandboxes/{box.id}/resume").status_code == 202
    assert wait_until(lambda: ticks(box)[-1:] > [end])
    assert [tick for tick in ticks(box) if begin < tick < end] == []


def test_hooks_run_again_after_a_restart_of_the_server(server: Running) -> None:
    with server.client() as client:
        box = create_box(client, lifecycle={"preStart": hook("echo once >>/workspace/starts")})
    server.stop()
    again = start(server.home)
    try:
        with again.client() as client:
            assert Box(client, box.info).output("cat /workspace/starts") == "once\nonce"
            client.delete(f"/v1/sandboxes/{box.id}")
    finally:
        again.stop()


def test_a_spare_runs_its_hook_too(make_home: Callable[[int], object]) -> None:
    running = start(make_home(0), None, "--spares", "1")  # type: ignore[arg-type]
    try:
        with running.client() as client:
            box = create_box(client, lifecycle={"preStart": hook("echo here >/tmp/first")})
            assert box.output("cat /tmp/first") == "here"
            failed = create_box_raw(client, lifecycle={"preStart": hook("exit 9")})
            assert failed.status_code == 500
            assert "exit status 9" in failed.json()["message"]
            client.delete(f"/v1/sandboxes/{box.id}")
    finally:
        running.stop()


@pytest.mark.parametrize(
    "lifecycle",
    [
        {"preStop": hook("true")},
        {"preStart": {"command": []}},
        {"preStart": {"command": [" "]}},
        {"preStart": {"command": ["a\0b"]}},
        {"preStart": {"command": ["true"], "shell": True}},
        {"preStart": hook("true", timeoutSeconds=10_801)},
        {"periodic": [{"name": "a", "schedule": "@every 1s", **hook("true", timeoutSeconds=301)}]},
        {"periodic": [{"name": " ", "schedule": "@hourly", **hook("true")}]},
        {"periodic": [{"name": "a", "schedule": "@hourly", **hook("true")}] * 2},
        {"periodic": [{"name": "a", "schedule": "often", **hook("true")}]},
    ],
)
def test_hooks_that_cannot_be_are_refused(
    client: httpx.Client, lifecycle: dict[str, object]
) -> None:
    answer = create_box_raw(client, lifecycle=lifecycle)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "SANDBOX::INVALID_PARAMETER"


def test_secure_access_is_what_there_is_anyway(client: httpx.Client) -> None:
    box = create_box(client, secureAccess=True)
    endpoint = client.get(f"/v1/sandboxes/{box.id}/endpoints/44772").json()
    address = f"http://{endpoint['endpoint']}/ping"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers=endpoint["headers"]).status_code == 200


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("* * * * *", "2024-01-01T00:01"),
        ("@hourly", "2024-01-01T01:00"),
        ("*/15 3 * * *", "2024-01-01T03:00"),
        ("5,10-12 0 * * *", "2024-01-01T00:05"),
        ("0 0 29 2 *", "2024-02-29T00:00"),
        ("0 9 * * mon-fri", "2024-01-01T09:00"),
        ("0 0 * * 7", "2024-01-07T00:00"),
        ("0 0 * * SUN", "2024-01-07T00:00"),
        ("0 0 13 * 5", "2024-01-05T00:00"),
        ("0 0 ? dec *", "2024-12-01T00:00"),
        ("30/10 * * * *", "2024-01-01T00:30"),
        ("@every 1h2m3s", "2024-01-01T01:02:03"),
        ("@yearly", "2025-01-01T00:00"),
    ],
)
def test_when_a_schedule_happens(text: str, after: str) -> None:
    assert Schedule(text).after(datetime(2024, 1, 1)) == datetime.fromisoformat(after)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "0 0 0 * *", "0 0 30 2 *", "*/0 * * * *",
     "5-1 * * * *", "* * * foo *", "*-5 * * * *", "@every", "@every 0s", "@every 1.5s",
     "@every 500ms", "@often", "1,,2 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ValueError, match=r"cron|field|within|number|happens|needs"):
        Schedule(text)
