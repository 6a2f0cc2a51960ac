"""Sessions: a bash that stays."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from execd_driving import Run, alive, events_of, eventually, running


async def opened(client: httpx.AsyncClient, **body: object) -> str:
    answer = await client.post("/session", json=body) if body else await client.post("/session")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["session_id"])


async def run_in(client: httpx.AsyncClient, session: str, command: str, **more: object) -> Run:
    answer = await client.post(f"/session/{session}/run", json={"command": command, **more})
    assert answer.status_code == 200, answer.text
    return Run(events_of(answer.content))


async def test_everything_stays_until_the_session_goes(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    first = "x=1; f() { echo f $1 $x; }; declare -A m; m[a]=b; alias hi='echo hello'; cd /; set -f"
    done = await run_in(client, session, first)
    assert (done.id, done.last["type"]) == (session, "execution_complete")
    done = await run_in(client, session, 'f 2; echo ${m[a]} *; hi; pwd; export Y="a\n\nb"')
    assert done.stdout == "f 2 1\nb *\nhello\n/\n"
    assert (await run_in(client, session, 'printf %s "$Y"')).stdout == "a\n\nb"
    assert (await client.delete(f"/session/{session}")).status_code == 200
    answer = await client.post(f"/session/{session}/run", json={"command": "true"})
    assert (answer.status_code, answer.json()["code"]) == (404, "CONTEXT_NOT_FOUND")


async def test_output_and_failures(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    done = await run_in(client, session, "echo out; echo err >&2; (exit 3)")
    assert (done.stdout, done.stderr, done.evalue) == ("out\n", "err\n", "3")
    assert (await run_in(client, session, "if")).evalue == "2"
    assert (await run_in(client, session, "no-such-command")).evalue == "127"
    assert (await run_in(client, session, "cat; cat <<E\n$((1 + 1)) ü\nE\n# end")).stdout == "2 ü\n"
    large = await run_in(client, session, "seq 300000")
    assert large.stdout == "".join(f"{n}\n" for n in range(1, 300_001))


async def test_where_it_works(client: httpx.AsyncClient, workspace: Path) -> None:
    session = await opened(client, cwd="made/for it")
    assert (await run_in(client, session, "pwd")).stdout == f"{workspace}/made/for it\n"
    assert (await run_in(client, session, "pwd", cwd="..")).stdout == f"{workspace}/made\n"
    assert (await run_in(client, session, "pwd")).stdout == f"{workspace}/made\n"
    answer = await client.post(f"/session/{session}/run", json={"command": "true", "cwd": "nope"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_exit_ends_that_session_and_no_other(client: httpx.AsyncClient) -> None:
    other, session = await opened(client), await opened(client)
    await run_in(client, other, "x=kept")
    done = await run_in(client, session, "echo bye; exit 7")
    assert (done.stdout, done.evalue) == ("bye\n", "7")
    answer = await client.post(f"/session/{session}/run", json={"command": "true"})
    assert answer.status_code == 404
    assert "ended" in answer.json()["message"]
    assert (await run_in(client, other, "echo $x")).stdout == "kept\n"
    assert (await client.delete(f"/session/{session}")).status_code == 200
    assert (await client.delete(f"/session/{session}")).status_code == 404


SCRIPTS = [
    "sleep 600; echo no",
    "while :; do :; done; echo no",
    "f() { while :; do :; done; }; g() { f; echo no; }; g; echo no",
    "y=$(sleep 600); echo no",
    "bash -c \"trap '' INT; while :; do sleep 1; done\"",
]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_timeout_ends_the_run_and_not_the_session(
    client: httpx.AsyncClient, script: str
) -> None:
    session = await opened(client)
    await run_in(client, session, "x=kept")
    done = await run_in(client, session, script, timeout=200)
    assert (done.stdout, done.evalue) == ("", "-1")
    assert done.last["error"]["traceback"] == ["timed out after 200 ms"]
    assert (await run_in(client, session, "echo $x")).stdout == "kept\n"


async def test_a_shell_that_ignores_interrupts_is_ended(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    done = await run_in(client, session, "trap '' INT; while :; do :; done", timeout=100)
    assert done.evalue == "-1"
    assert (await client.delete(f"/session/{session}")).status_code == 200


async def test_an_interrupt_a_second_client_and_one_that_leaves(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    await run_in(client, session, "x=kept")
    url, body = f"/session/{session}/run", {"command": "echo $BASHPID; sleep 600"}
    async with client.stream("POST", url, json=body) as stream:
        await anext(stream.aiter_bytes())
        busy = await client.post(url, json={"command": "true"})
        assert (busy.status_code, busy.json()["code"]) == (409, "RUNTIME_ERROR")
    await eventually(lambda: _free(client, session))
    running_now = asyncio.ensure_future(run_in(client, session, "sleep 600"))
    await eventually(lambda: _interrupted(client, session))
    assert (await running_now).evalue == "130"
    assert (await run_in(client, session, "echo $x")).stdout == "kept\n"
    assert not await _interrupted(client, session)


async def _free(client: httpx.AsyncClient, session: str) -> bool:
    answer = await client.post(f"/session/{session}/run", json={"command": "true"})
    return answer.status_code == 200


async def _interrupted(client: httpx.AsyncClient, session: str) -> bool:
    return (await client.delete("/command", params={"id": session})).status_code == 200


async def test_a_late_interrupt_does_not_reach_the_next_run(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    pid = int((await run_in(client, session, "echo $$")).stdout)
    for _ in range(20):
        await run_in(client, session, "sleep 600", timeout=20)
        os.kill(pid, signal.SIGINT)
        await asyncio.sleep(0.02)
        done = await run_in(client, session, "echo a; echo b")
        assert (done.stdout, done.stderr, done.evalue) == ("a\nb\n", "", None)


async def test_background_jobs_live_between_runs_and_end_with_the_session(
    client: httpx.AsyncClient,
) -> None:
    session = await opened(client)
    pid = int((await run_in(client, session, "sleep 600 & echo $!")).stdout)
    await run_in(client, session, "sleep 60", timeout=100)
    assert alive(pid)
    assert (await run_in(client, session, "yes & true")).evalue is None
    await client.delete(f"/session/{session}")
    assert not alive(pid)


@pytest.mark.parametrize(
    "body", [{}, {"command": " "}, {"command": "a\0b"}, {"command": "x", "timeout": -1}, []]
)
async def test_requests_that_make_no_sense(client: httpx.AsyncClient, body: object) -> None:
    session = await opened(client)
    answer = await client.post(f"/session/{session}/run", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_too_many_sessions_and_what_an_ended_daemon_leaves() -> None:
    with running() as daemon:
        async with daemon.client() as client:
            before = daemon.descriptors()
            sessions = [await opened(client) for _ in range(256)]
            answer = await client.post("/session")
            assert (answer.status_code, answer.json()["code"]) == (409, "RUNTIME_ERROR")
            pid = int((await run_in(client, sessions[0], "echo $$")).stdout)
            for session in sessions[1:]:
                await client.delete(f"/session/{session}")
            assert daemon.descriptors() <= before + 8
        daemon.stop()
        assert not alive(pid)
