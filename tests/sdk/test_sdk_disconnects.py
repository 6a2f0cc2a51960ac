"""Connections that break in the middle of a command, in both colours, on the embedded server."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from cutting import CuttingProxy

from opensandbox_jupyter import SandboxSync
from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT
from opensandbox_jupyter.exceptions import (
    ExecutionDisconnected,
    InvalidArgumentException,
    SandboxApiException,
)
from opensandbox_jupyter.models.execd import OutputMessage

UNTIL = "; while [ ! -e /tmp/go ]; do sleep 0.02; done; "


@pytest.fixture
async def proxy(sandbox: Any) -> AsyncIterator[CuttingProxy]:
    """A proxy before the sandbox's daemon."""
    endpoint = await sandbox.get_endpoint(DEFAULT_EXECD_PORT)
    host, _, port = endpoint.endpoint.partition("/")[0].partition(":")
    proxy = CuttingProxy((host, int(port)))
    yield proxy
    proxy.close()


@pytest.fixture
async def far(sandbox: Any, proxy: CuttingProxy) -> Any:
    """The sandbox, reached through the proxy."""
    endpoint = await sandbox.get_endpoint(DEFAULT_EXECD_PORT)
    path = endpoint.endpoint.partition("/")[2]
    there = replace(endpoint, endpoint=f"{proxy.domain}/{path}".rstrip("/"))
    box = getattr(sandbox, "_inner", sandbox)
    other = type(box)(box.id, box._connection, there)
    return other if box is sandbox else type(sandbox)(other)


async def test_the_exception_says_what_runs_and_what_has_come(
    far: Any, proxy: CuttingProxy
) -> None:
    with pytest.raises(ExecutionDisconnected, match="still runs") as caught:
        await far.commands.run("echo one" + UNTIL, on_stdout=lambda _: proxy.cut())

    error = caught.value
    assert error.execution.stdout == "one\n"
    assert error.execution_id == error.execution.id
    assert error.status is not None
    assert error.status.running
    assert not error.is_retryable
    assert "interrupt(execution_id)" in str(error)
    await far.commands.interrupt(error.execution_id)
    assert (await far.commands.get_command_status(error.execution_id)).running is False


async def test_it_is_interrupted_as_told(far: Any, proxy: CuttingProxy) -> None:
    with pytest.raises(ExecutionDisconnected, match="has ended with exit code") as caught:
        await far.commands.run(
            "echo one; exec sleep 4900",
            on_stdout=lambda _: proxy.cut(),
            on_disconnect="interrupt",
        )

    assert caught.value.status is not None
    assert caught.value.status.running is False
    assert (await far.commands.run("pgrep -fc '^sleep 4900' || true")).text == "0"


async def test_it_is_reattached_as_told_and_nothing_is_missing(
    far: Any, proxy: CuttingProxy
) -> None:
    seen: list[str] = []

    def cut(message: OutputMessage) -> None:
        seen.append(message.text)
        if len(seen) in (2, 4):
            proxy.cut()

    command = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.05; done; echo error >&2; exit 3"
    execution = await far.commands.run(command, on_stdout=cut, on_disconnect="reattach")

    assert execution.stdout == "".join(seen) == "1\n2\n3\n4\n5\n6\n"
    assert (execution.stderr, execution.exit_code) == ("error\n", 3)


async def test_much_output_is_whole_wherever_the_connection_broke(
    far: Any, proxy: CuttingProxy
) -> None:
    proxy.cut_behind(1_234_567)

    execution = await far.commands.run("seq 1000000", on_disconnect="reattach")

    assert execution.stdout == "".join(f"{n}\n" for n in range(1, 1_000_001))


async def test_a_server_that_is_away_for_a_while_is_waited_for(
    far: Any, proxy: CuttingProxy
) -> None:
    def away(_: object) -> None:
        proxy.is_down = True
        proxy.cut()
        threading.Timer(0.5, setattr, (proxy, "is_down", False)).start()

    execution = await far.commands.run(
        "echo one; sleep 0.2; echo two", on_stdout=away, on_disconnect="reattach"
    )

    assert (execution.stdout, execution.exit_code) == ("one\ntwo\n", 0)


async def test_where_output_cannot_be_had_again_the_end_is_waited_for(
    far: Any, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opensandbox_jupyter.wire.opensandbox.execd import Commands

    monkeypatch.setattr(Commands, "when_left", lambda _self, call, _wish: call)
    with SandboxSync.connect(far.id) as near:
        go = threading.Timer(0.3, near.files.write_file, ("/tmp/go", ""))

        def cut(_: object) -> None:
            proxy.cut()
            go.start()

        with pytest.raises(ExecutionDisconnected, match="exit code 4") as caught:
            await far.commands.run(
                "echo one" + UNTIL + "exit 4", on_stdout=cut, on_disconnect="reattach"
            )
        go.join()

    assert caught.value.status is not None
    assert caught.value.status.exit_code == 4
    assert caught.value.execution.stdout == "one\n"


async def test_a_stream_goes_on_too(far: Any, proxy: CuttingProxy) -> None:
    text = ""
    async for event in far.commands.stream("seq 5; sleep 0.2; seq 6 9", on_disconnect="reattach"):
        if isinstance(event, OutputMessage):
            if not text:
                proxy.cut()
            text += event.text

    assert text == "".join(f"{n}\n" for n in range(1, 10))


async def test_what_is_wished_must_be_known(far: Any) -> None:
    with pytest.raises(InvalidArgumentException, match="leave, interrupt, reattach"):
        await far.commands.run("true", on_disconnect="retry")


async def test_a_session_ends_what_nobody_waits_for(far: Any, proxy: CuttingProxy) -> None:
    session = await far.commands.create_session()

    with pytest.raises(ExecutionDisconnected) as caught:
        await far.commands.run_in_session(
            session, "echo one; sleep 4901", on_stdout=lambda _: proxy.cut()
        )
    assert caught.value.execution.stdout == "one\n"
    while True:
        try:
            execution = await far.commands.run_in_session(session, "pgrep -fc '^sleep 4901'")
            break
        except SandboxApiException as busy:
            assert busy.status_code == 409
    assert execution.text == "0"


async def test_code_is_told_by_its_context(far: Any, proxy: CuttingProxy) -> None:
    context = await far.codes.create_context("python")

    with pytest.raises(ExecutionDisconnected) as caught:
        await far.codes.run(
            "print('one'); import time; time.sleep(600)",
            context=context,
            on_stdout=lambda _: proxy.cut(),
        )

    assert caught.value.execution_id == context.id
    await far.codes.interrupt(caught.value.execution_id)
    assert (await far.codes.run("1 + 1", context=context)).text == "2"
