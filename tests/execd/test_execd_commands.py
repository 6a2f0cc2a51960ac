"""Running commands in the foreground: events, exit codes, environment, directories, users."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest
from execd_driving import Daemon, alive, eventually, run

from opensandbox_jupyter.constants import OUTPUT_HEADER


async def test_a_success_is_init_ping_output_and_one_last_event(client: httpx.AsyncClient) -> None:
    done = await run(client, "echo hello")
    assert [event["type"] for event in done.events] == [
        "init",
        "ping",
        "stdout",
        "execution_complete",
    ]
    assert len(done.id) == 32
    assert int(done.id, 16)
    assert done.stdout == "hello\n"
    assert done.last["execution_time"] >= 0


async def test_two_streams_and_an_exit_code(client: httpx.AsyncClient) -> None:
    done = await run(client, "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert done.last["error"] == {
        "ename": "CommandExecError",
        "evalue": "7",
        "traceback": ["exit status 7"],
    }
    assert [event["type"] for event in done.events].count("error") == 1
    assert "execution_complete" not in [event["type"] for event in done.events]


async def test_a_signal_is_minus_one(client: httpx.AsyncClient) -> None:
    done = await run(client, "kill -KILL $$")
    assert (done.evalue, done.last["error"]["traceback"]) == ("-1", ["signal: killed"])
    status = (await client.get(f"/command/status/{done.id}")).json()
    assert (status["exit_code"], status["error"], status["running"]) == (
        -1,
        "signal: killed",
        False,
    )


async def test_argv_is_not_a_shell(client: httpx.AsyncClient) -> None:
    done = await run(client, {"argv": ["printf", "%s|", "$HOME", "a b", "*"]})
    assert done.stdout == "$HOME|a b|*|"


async def test_what_cannot_start_says_why_and_has_no_exit_code(client: httpx.AsyncClient) -> None:
    done = await run(client, {"argv": ["no-such-program"]})
    assert [event["type"] for event in done.events] == ["init", "ping", "error"]
    assert done.evalue == "no-such-program: No such file or directory"
    status = (await client.get(f"/command/status/{done.id}")).json()
    assert (status["running"], status["exit_code"]) == (False, 255)


async def test_an_argument_list_that_is_too_long_says_so(client: httpx.AsyncClient) -> None:
    done = await run(client, "echo " + "x" * 3_000_000)
    assert "too long" in (done.evalue or "")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": ""},
        {"command": "  \n"},
        {"argv": []},
        {"argv": [" "]},
        {"command": "true", "argv": ["true"]},
        {"command": 1},
        {"command": "a\0b"},
        {"command": "true", "timeout": -1},
        {"command": "true", "timeout": "1s"},
        {"command": "true", "gid": 5},
        {"command": "true", "uid": -1},
        {"command": "true", "uid": 2**32},
        {"command": "true", "cwd": "/no/such/directory"},
        {"command": "true", "cwd": "/etc/passwd"},
        {"command": "true", "cwd": "/a\0b"},
        {"command": "true", "cwd": "$NOT_SET_AT_ALL/x"},
        {"command": "true", "envs": {"A=B": "1"}},
        {"command": "true", "envs": {"": "1"}},
        {"command": "true", "envs": {"A": "b\0"}},
        {"command": "true", "envs": {"A": 1}},
        [],
    ],
)
async def test_nonsense_is_refused_before_any_event(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await client.post("/command", json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_REQUEST_BODY"
    assert answer.json()["message"]


async def test_nulls_and_unknown_keys_are_accepted(client: httpx.AsyncClient) -> None:
    body = {"command": "true", "cwd": None, "envs": None, "timeout": None, "uid": None, "new": 1}
    assert (await run(client, body)).evalue is None


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"command":' + b"9" * 1_000_000])
async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/command", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")


async def test_a_body_without_end_is_refused_while_it_comes(client: httpx.AsyncClient) -> None:
    answer = await client.post("/command", content=b" " * (17 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["code"]


async def test_commands_see_the_settings_and_nothing_of_the_daemon(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    done = await run(client, "pwd; env; ls /proc/self/fd; cat | wc -c; tty")
    assert done.stdout.startswith(f"{daemon.workspace}\n")
    assert "SECRET_OF_THE_STARTER" not in done.stdout
    assert f"HOME={daemon.home}\n" in done.stdout
    assert "\n0\n1\n2\n3\n0\nnot a tty\n" in done.stdout  # 3 is the directory that ls reads


async def test_layers_of_the_environment(daemon: Daemon, client: httpx.AsyncClient) -> None:
    daemon.env_file.write_text(
        "# a comment\nexport A=file\nB='from '\"$A\"' file'\n\nC=$HOME/x # no\n"
    )
    try:
        done = await run(client, {"command": 'echo "$A|$B|$C"', "envs": {"A": "request"}})
        assert done.stdout == f"request|from file file|{daemon.home}/x\n"
        await run(client, 'printf "%s\\n" "D=\'it\'\\"\'\\"\'s\'" >> "$EXECD_ENVS"')
        assert (await run(client, 'echo "$D"')).stdout == "it's\n"
    finally:
        daemon.env_file.unlink()
    assert (await run(client, 'echo "[$A]"')).stdout == "[]\n"


async def test_an_env_file_that_is_a_pipe_holds_nobody_up(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    os.mkfifo(daemon.env_file)
    try:
        assert (await run(client, "echo on")).stdout == "on\n"
    finally:
        daemon.env_file.unlink()


async def test_working_directories(
    daemon: Daemon, client: httpx.AsyncClient, workspace: Path
) -> None:
    (workspace / "inner").mkdir(exist_ok=True)
    for cwd in ("inner", str(workspace / "inner"), "~/workspace/inner", "$W/inner", "${W}/inner"):
        done = await run(client, {"command": "pwd", "cwd": cwd, "envs": {"W": str(workspace)}})
        assert done.stdout == f"{workspace}/inner\n", cwd


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_another_user(daemon: Daemon, client: httpx.AsyncClient) -> None:
    done = await run(client, {"command": "id -u; id -g; id -G", "uid": 12345, "cwd": "/"})
    assert done.stdout == "12345\n12345\n12345\n"
    done = await run(client, {"command": "id -u; id -g", "uid": 12345, "gid": 54321, "cwd": "/"})
    assert done.stdout == "12345\n54321\n"


async def test_ones_own_user(client: httpx.AsyncClient) -> None:
    done = await run(client, {"command": "id -u", "uid": os.geteuid()})
    assert done.stdout == f"{os.geteuid()}\n"


async def test_a_timeout_kills_children_too(client: httpx.AsyncClient) -> None:
    done = await run(client, {"command": "sleep 600 & echo $!; wait; echo no", "timeout": 200})
    assert (done.evalue, done.last["error"]["traceback"]) == ("-1", ["signal: killed"])
    assert "no" not in done.stdout
    await eventually(lambda: not alive(int(done.texts()[0])))


async def test_a_child_left_behind_does_not_hold_the_answer_and_lives_on(
    client: httpx.AsyncClient, workspace: Path
) -> None:
    script = "(sleep 1; echo late; echo late >&2; touch survived; sleep 600) & echo $!"
    done = await run(client, script)
    assert done.evalue is None
    pid = int(done.stdout)
    assert alive(pid)
    await eventually(lambda: (workspace / "survived").exists())
    await run(client, f"kill -KILL -- -$(ps -o pgid= -p {pid} | tr -d ' ')")


async def test_a_child_that_writes_for_ever_does_not_hold_the_answer(
    client: httpx.AsyncClient,
) -> None:
    done = await run(client, "yes & echo $! >&2", **{OUTPUT_HEADER: "chunks"})
    os.kill(int(done.stderr), 9)
    assert done.evalue is None


async def test_output_after_the_streams_are_closed(client: httpx.AsyncClient) -> None:
    done = await run(client, "echo a; exec >&- 2>&-; sleep 0.3; exit 4")
    assert (done.stdout, done.evalue) == ("a\n", "4")


async def test_many_at_once(client: httpx.AsyncClient) -> None:
    runs = await asyncio.gather(*(run(client, f"echo {n}; exit {n % 3}") for n in range(100)))
    assert [done.stdout for done in runs] == [f"{n}\n" for n in range(100)]
    assert [done.evalue for done in runs] == [str(n % 3) if n % 3 else None for n in range(100)]
    assert len({done.id for done in runs}) == 100


async def test_nothing_is_left_of_commands(daemon: Daemon, client: httpx.AsyncClient) -> None:
    await run(client, "true")
    before = daemon.descriptors()
    for _ in range(50):
        await run(client, "echo a; echo b >&2")
        await run(client, {"argv": ["no-such-program"]})
    assert daemon.descriptors() == before
    assert "Z" not in (await run(client, f"ps -o stat= --ppid {daemon.process.pid}")).stdout


async def test_a_sign_of_life_while_nothing_happens(client: httpx.AsyncClient) -> None:
    done = await run(client, "sleep 3.5")
    assert [event["type"] for event in done.events] == [
        "init",
        "ping",
        "ping",
        "execution_complete",
    ]
