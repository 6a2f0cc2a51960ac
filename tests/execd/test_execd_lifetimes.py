"""Status, logs and interrupts of commands, and the life of the daemon itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from execd_driving import Daemon, alive, events_of, eventually, run, running

from opensandbox_jupyter.constants import LOGS_CURSOR_HEADER


async def start(client: httpx.AsyncClient, command: str, **more: object) -> str:
    answer = await client.post("/command", json={"command": command, "background": True, **more})
    assert answer.status_code == 200
    events = events_of(answer.content)
    assert [event["type"] for event in events] == ["init", "execution_complete"]
    return str(events[0]["text"])


async def finish(client: httpx.AsyncClient, execution_id: str) -> dict[str, object]:
    status: dict[str, object] = {}

    async def finished() -> bool:
        nonlocal status
        status = (await client.get(f"/command/status/{execution_id}")).json()
        return not status["running"]

    await eventually(finished)
    return status


async def test_a_background_command_is_followed_by_its_log(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, "echo one; echo two >&2; sleep 0.3; echo three; exit 3")
    running_now = (await client.get(f"/command/status/{execution_id}")).json()
    assert running_now["running"] is True
    assert "exit_code" not in running_now
    assert "finished_at" not in running_now
    text, cursor = "", "0"
    while True:
        over = not (await client.get(f"/command/status/{execution_id}")).json()["running"]
        answer = await client.get(f"/command/{execution_id}/logs", params={"cursor": cursor})
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        text, cursor = text + answer.text, answer.headers[LOGS_CURSOR_HEADER]
        if over:
            break
        await asyncio.sleep(0.02)
    assert text == "one\ntwo\nthree\n"
    assert cursor == str(len(text))
    status = await finish(client, execution_id)
    assert (status["exit_code"], status["error"]) == (3, "exit status 3")
    assert str(status["started_at"]).endswith("Z")
    assert str(status["started_at"]) <= str(status["finished_at"])


@pytest.mark.parametrize(
    ("cursor", "text"),
    [("", "abcdef"), ("2", "cdef"), ("6", ""), ("999", ""), ("-1", "abcdef"), ("x", "abcdef")],
)
async def test_cursors(client: httpx.AsyncClient, cursor: str, text: str) -> None:
    execution_id = await start(client, "printf abcdef")
    await finish(client, execution_id)
    answer = await client.get(f"/command/{execution_id}/logs", params={"cursor": cursor})
    assert (answer.text, answer.headers[LOGS_CURSOR_HEADER]) == (text, "6")


async def test_a_success_in_the_background_has_exit_code_zero(client: httpx.AsyncClient) -> None:
    status = await finish(client, await start(client, "true"))
    assert (status["exit_code"], status["content"]) == (0, "true")
    assert "error" not in status


async def test_a_large_log_is_whole(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, "head -c 50000000 /dev/zero | tr '\\0' x")
    await finish(client, execution_id)
    answer = await client.get(f"/command/{execution_id}/logs")
    assert answer.content == b"x" * 50_000_000


async def test_a_background_command_that_cannot_start(client: httpx.AsyncClient) -> None:
    answer = await client.post("/command", json={"argv": ["no-such-program"], "background": True})
    events = events_of(answer.content)
    assert [event["type"] for event in events] == ["init", "error"]
    assert "no-such-program" in events[1]["error"]["evalue"]
    status = await finish(client, events[0]["text"])
    assert status["exit_code"] == 255
    assert (await client.get(f"/command/{events[0]['text']}/logs")).text == ""


async def test_a_timeout_holds_in_the_background(client: httpx.AsyncClient) -> None:
    status = await finish(client, await start(client, "sleep 600", timeout=100))
    assert (status["exit_code"], status["error"]) == (-1, "signal: killed")


async def test_unknown_ids(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/command/status/nope"),
        await client.get("/command/nope/logs"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "INVALID_REQUEST_BODY")
    answer = await client.delete("/command", params={"id": "nope"})
    assert (answer.status_code, answer.json()["code"]) == (404, "RUNTIME_ERROR")
    answer = await client.delete("/command")
    assert (answer.status_code, answer.json()["code"]) == (400, "MISSING_QUERY")


async def test_a_foreground_command_has_no_log(client: httpx.AsyncClient) -> None:
    done = await run(client, "echo hello")
    answer = await client.get(f"/command/{done.id}/logs")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_a_finished_command_cannot_be_interrupted(client: httpx.AsyncClient) -> None:
    done = await run(client, "true")
    answer = await client.delete("/command", params={"id": done.id})
    assert answer.status_code == 404
    assert "finished" in answer.json()["message"]


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & echo $! >> pids; sleep 600 & echo $! >> pids; wait",
        "trap '' TERM; echo $$ >> pids; while :; do sleep 1; done",
        "setsid sh -c 'echo $$ >> pids; sleep 600' & wait",
        "set -m; (echo $BASHPID >> pids; sleep 600) & wait",
        "(trap '' TERM; echo $BASHPID >> pids; while :; do sleep 1; done) & wait",
        "echo $$ >> pids; kill -STOP $$; sleep 600",
    ],
    ids=["children", "deaf", "other session", "other group", "deaf child", "stopped"],
)
async def test_an_interrupt_ends_all_of_it(
    client: httpx.AsyncClient, workspace: Path, script: str
) -> None:
    (workspace / "pids").unlink(missing_ok=True)
    body = {"command": script}
    async with client.stream("POST", "/command", json=body) as answer:
        stream = answer.aiter_bytes()
        execution_id = events_of(await anext(stream))[0]["text"]
        await eventually(lambda: _pids(workspace, at_least=1))
        await asyncio.sleep(0.2)
        pids = [int(pid) for pid in (workspace / "pids").read_text().split()]
        assert any(alive(pid) for pid in pids)
        ended = await client.delete("/command", params={"id": execution_id})
        assert (ended.status_code, ended.content) == (200, b"")
        assert [pid for pid in pids if alive(pid)] == []
        rest = b"".join([piece async for piece in stream])
    last = events_of(rest)[-1]
    assert last["type"] == "error"
    assert last["error"]["evalue"] in ("-1", "143")
    status = (await client.get(f"/command/status/{execution_id}")).json()
    assert status["running"] is False


def _pids(workspace: Path, at_least: int) -> bool:
    try:
        return len((workspace / "pids").read_text().split()) >= at_least
    except FileNotFoundError:
        return False


async def test_a_polite_command_may_clean_up(client: httpx.AsyncClient, workspace: Path) -> None:
    script = "trap 'echo bye > cleaned; exit 0' TERM; touch ready; sleep 600 & wait"
    execution_id = await start(client, script)
    await eventually(lambda: (workspace / "ready").exists())
    await client.delete("/command", params={"id": execution_id})
    assert (workspace / "cleaned").read_text() == "bye\n"
    status = await finish(client, execution_id)
    assert status["exit_code"] == 0


async def test_two_interrupts_at_once(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, "trap '' TERM; sleep 600 & wait; sleep 600")
    answers = await asyncio.gather(
        *(client.delete("/command", params={"id": execution_id}) for _ in range(2))
    )
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert (await finish(client, execution_id))["running"] is False


async def test_the_entrypoint_runs_beside_the_daemon() -> None:
    script = "echo $$ > entry; pwd; echo started; exit 6"
    with running(entrypoint=["sh", "-c", script]) as daemon:
        async with daemon.client() as client:
            status = await finish(client, "entrypoint")
            assert status["exit_code"] == 6
            log = (await client.get("/command/entrypoint/logs")).text
            assert log == f"{daemon.workspace}\nstarted\n"
            assert (await client.get("/ping")).status_code == 200


async def test_an_entrypoint_that_does_not_exist_is_no_reason_to_end() -> None:
    with running(entrypoint=["no-such-program"]) as daemon:
        async with daemon.client() as client:
            assert (await client.get("/ping")).status_code == 200
            status = (await client.get("/command/status/entrypoint")).json()
            assert "no-such-program" in status["error"]


async def test_the_usual_entrypoint_is_not_started() -> None:
    with running(entrypoint=["tail", "-f", "/dev/null"]) as daemon:
        async with daemon.client() as client:
            assert (await client.get("/command/status/entrypoint")).status_code == 404


async def test_an_ended_daemon_leaves_nothing_running() -> None:
    with running() as daemon:
        async with daemon.client() as client:
            await start(client, "echo $$ > pid; sleep 600")
            await eventually(lambda: bool(_text(daemon.workspace / "pid")))
            pid = int(_text(daemon.workspace / "pid"))
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.wait(10)
        assert not alive(pid)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


async def test_others_cannot_look_into_the_daemon(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look into everything")
    done = await run(
        client, f"cat /proc/{daemon.process.pid}/environ /proc/{daemon.process.pid}/maps"
    )
    assert done.stdout == ""


async def test_the_daemon_needs_a_token() -> None:
    with running(token="") as daemon:
        assert daemon.process.wait(10) != 0


async def test_what_a_background_command_leaves_behind_still_writes_to_its_log(
    client: httpx.AsyncClient,
) -> None:
    execution_id = await start(client, "(sleep 0.6; echo late) & echo early")
    status = await finish(client, execution_id)
    assert status["exit_code"] == 0

    async def late() -> bool:
        return (await client.get(f"/command/{execution_id}/logs")).text == "early\nlate\n"

    await eventually(late)
