"""Output: every byte, in order, as text; lines or chunks; slow readers and readers that leave."""

from __future__ import annotations

import asyncio
import json
import re
import sys

import httpx
import psutil
import pytest
from execd_driving import Daemon, alive, eventually, run

from opensandbox_jupyter.constants import OUTPUT_HEADER

CHUNKS = {OUTPUT_HEADER: "chunks"}
MODES = pytest.mark.parametrize("headers", [{}, CHUNKS], ids=["lines", "chunks"])


@MODES
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a\n",
        "\n",
        "\n\n\n",
        "a\n\nb",
        "a\r\nb\r\n",
        "10%\r20%\r30%\n",
        'quote " backslash \\ \\n tab \t "\n"\n',
        "\x00\x01\x1b[31m\x7f\n",
        "naïve ☃ 𝄞\n",
        "a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg\n",
        '","timestamp":1}\n\n{"type":"error"}\n\n',
        "<script>&amp;</script>\n",
    ],
)
async def test_text_comes_as_it_was_written(
    client: httpx.AsyncClient, text: str, headers: dict[str, str]
) -> None:
    program = f"import sys; sys.stdout.buffer.write({text.encode()!r})"
    done = await run(client, {"argv": [sys.executable, "-c", program]}, **headers)
    assert done.stdout == text
    assert done.evalue is None


async def test_one_event_a_line(client: httpx.AsyncClient) -> None:
    done = await run(client, r"printf 'a\n\nb\r\nc\rd'")
    assert done.texts() == ["a\n", "\n", "b\r\n", "c\rd"]


async def test_separators_that_readers_split_at_are_escaped(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/command",
        json={"command": "printf 'a\\u2028b\\u2029c\\u0085d\\n'", "envs": {"LC_ALL": "C.UTF-8"}},
    )
    assert len(answer.content.decode().splitlines()) == len(answer.content.split(b"\n")) - 1
    assert b"a\\u2028b\\u2029c\\u0085d" in answer.content


@MODES
async def test_bytes_that_are_not_text_are_replaced(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    done = await run(client, r"printf 'a\xff\xfeb\xc3\n\xe2\x82'", **headers)
    assert done.stdout == "a\ufffd\ufffdb\ufffd\n\ufffd"


@MODES
async def test_a_character_in_two_writes_is_one_character(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    pieces = [r"printf 'x\xf0\x9d'", "printf e >&2", r"printf '\x84'", r"printf '\x9ey'"]
    script = "; sleep 0.1; ".join(pieces)
    done = await run(client, script, **headers)
    assert (done.stdout, done.stderr) == ("x𝄞y", "e")


@MODES
async def test_every_line_of_many(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    done = await run(client, "seq 300000; seq 5 >&2", **headers)
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 300001))
    assert done.stderr == "1\n2\n3\n4\n5\n"
    if headers:
        assert len(done.texts()) < 1000
        assert all(len(text) <= 65536 for text in done.texts())
    else:
        assert all(text.count("\n") <= 1 for text in done.texts())


async def test_a_piece_of_many_lines_ends_where_a_line_does(client: httpx.AsyncClient) -> None:
    script = (
        "printf one; sleep 0.002; echo; printf 'two\\nthree'; sleep 0.002; echo; sleep 0.2; echo"
    )
    done = await run(client, script, **CHUNKS)
    assert done.stdout == "one\ntwo\nthree\n\n"
    assert all(text.endswith("\n") for text in done.texts())


@MODES
async def test_one_very_long_line(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    done = await run(client, "head -c 20000000 /dev/zero | tr '\\0' x; echo", **headers)
    assert done.stdout == "x" * 20_000_000 + "\n"


@MODES
async def test_a_prompt_without_a_newline_is_shown_while_the_command_waits(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = {"command": "printf 'continue? '; sleep 600"}
    async with client.stream("POST", "/command", json=body, headers=headers) as answer:
        seen = b""
        async for piece in answer.aiter_bytes():
            seen += piece
            if b"continue? " in seen:
                break
    await client.delete("/command", params={"id": _id(seen)})


async def test_a_reader_that_waits_makes_the_command_wait(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    process = psutil.Process(daemon.process.pid)
    before = process.memory_info().rss
    body = {"command": "yes 'a line of some length that is repeated' | head -c 400M"}
    async with client.stream("POST", "/command", json=body, headers=CHUNKS) as answer:
        pieces = answer.aiter_bytes()
        first = await anext(pieces)
        await asyncio.sleep(1)
        assert process.memory_info().rss - before < 32 * 1024 * 1024
        status = (await client.get(f"/command/status/{_id(first)}")).json()
        assert status["running"] is True
        length = 0
        async for piece in pieces:
            length += len(piece)
            last = piece[-300:]
    assert length > 400 * 1024 * 1024
    assert b'"execution_complete"' in last
    assert process.memory_info().rss - before < 48 * 1024 * 1024


async def test_a_reader_that_leaves_does_not_stop_the_command(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    before = daemon.descriptors()
    body = {"command": "seq 3000000; seq 3000000 >&2; echo done > left; exit 5"}
    async with daemon.client() as leaver, leaver.stream("POST", "/command", json=body) as answer:
        execution_id = _id(await anext(answer.aiter_bytes()))

    async def finished() -> bool:
        return not (await client.get(f"/command/status/{execution_id}")).json()["running"]

    await eventually(finished)
    status = (await client.get(f"/command/status/{execution_id}")).json()
    assert status["exit_code"] == 5
    assert (daemon.workspace / "left").read_text() == "done\n"
    await eventually(lambda: daemon.descriptors() <= before)


async def test_a_reader_that_never_reads_and_leaves(
    daemon: Daemon, client: httpx.AsyncClient
) -> None:
    body = {"command": "echo $$ > pid; yes"}
    async with daemon.client() as leaver, leaver.stream("POST", "/command", json=body) as answer:
        execution_id = _id(await anext(answer.aiter_bytes()))
        await asyncio.sleep(0.3)
    pid = int((daemon.workspace / "pid").read_text())
    assert alive(pid)
    assert (await client.delete("/command", params={"id": execution_id})).status_code == 200
    assert not alive(pid)


async def test_streams_do_not_hold_each_other_up(daemon: Daemon, client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/command", json={"command": "yes"}) as answer:
        execution_id = _id(await anext(answer.aiter_bytes()))
        assert (await run(client, "echo quick")).stdout == "quick\n"
        assert (await client.delete("/command", params={"id": execution_id})).status_code == 200


def _id(stream: bytes) -> str:
    found = re.search(rb'"type":"init","text":("[^"]*")', stream)
    assert found is not None
    text = json.loads(found[1])
    assert isinstance(text, str)
    return text
