"""The life of a sandbox, in both colours, on the embedded server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    SandboxReadyTimeoutException,
)
from opensandbox_jupyter.models.sandboxes import SandboxFilter, SandboxImageSpec
from opensandbox_jupyter.transport import RetryPolicy

MINUTES = timedelta(minutes=5)


async def test_create_gives_a_running_sandbox_that_kill_ends(sdk: SimpleNamespace) -> None:
    box = await sdk.Sandbox.create(
        SandboxImageSpec("base"), timeout=MINUTES, metadata={"team": "a"}, env={"GREETING": "hi"}
    )
    info = await box.get_info()
    greeting = await box.commands.run("echo $GREETING $OPENSANDBOX_ID")

    assert info.status.state == "Running"
    assert info.metadata["team"] == "a"
    assert greeting.stdout == f"hi {box.id}\n"
    assert await box.is_healthy()

    await box.kill()
    with pytest.raises(SandboxApiException) as caught:
        await box.get_info()
    assert caught.value.status_code == 404
    assert not await box.is_healthy()
    with pytest.raises(SandboxConnectionException, match="does not answer") as gone:
        await box.commands.run("true")
    assert "get_info()" in str(gone.value.hint)
    await box.close()


async def test_leaving_the_with_block_leaves_the_sandbox(sdk: SimpleNamespace) -> None:
    async with await sdk.Sandbox.create("base", timeout=MINUTES) as box:
        await box.files.write_file("/workspace/kept", "still here")

    async with await sdk.Sandbox.connect(box.id) as again:
        assert await again.files.read_file("/workspace/kept") == "still here"
        await again.kill()


async def test_renew_sets_the_end_from_now(sandbox: Any) -> None:
    before = datetime.now(timezone.utc)
    answer = await sandbox.renew(timedelta(minutes=30))
    info = await sandbox.get_info()

    assert info.expires_at == answer.expires_at
    assert timedelta(minutes=29) < answer.expires_at - before < timedelta(minutes=31)


async def test_no_timeout_means_no_end(sdk: SimpleNamespace) -> None:
    box = await sdk.Sandbox.create("base", timeout=None)
    assert (await box.get_info()).expires_at is None
    await box.destroy()


async def test_pause_freezes_and_resume_goes_on(sdk: SimpleNamespace, sandbox: Any) -> None:
    step = "i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; sleep 0.02"
    counting = f"i=0; while true; do {step}; done"
    there = "while [ ! -s /tmp/count ]; do sleep 0.02; done"
    await sandbox.commands.run(f"nohup sh -c '{counting}' > /dev/null 2>&1 & {there}")
    await sandbox.pause()
    assert (await sandbox.get_info()).status.state == "Paused"
    with pytest.raises(SandboxApiException) as twice:
        await sandbox.pause()
    assert twice.value.status_code == 409

    resumed = await sdk.Sandbox.resume(sandbox.id)
    goes_on = "n=$(cat /tmp/count); while [ $(cat /tmp/count) = $n ]; do sleep 0.02; done; echo on"
    assert (await resumed.commands.run(goes_on)).stdout == "on\n"
    await resumed.close()


async def test_metrics_are_of_the_sandbox(sandbox: Any) -> None:
    for metrics in (await sandbox.get_metrics(), await sandbox.metrics.get_metrics()):
        assert metrics.memory_total_in_mib == 2048
        assert 0 < metrics.memory_used_in_mib < 2048
        assert metrics.cpu_count == 1


async def test_an_endpoint_reaches_a_server_inside(sandbox: Any) -> None:
    await sandbox.files.write_file("/workspace/hello.txt", "from inside")
    await sandbox.commands.run("nohup python3 -m http.server 8000 >/dev/null 2>&1 &")
    endpoint = await sandbox.get_endpoint(8000)

    async with httpx.AsyncClient(trust_env=False, headers=endpoint.headers) as client:
        for _ in range(100):
            reply = await client.get(f"http://{endpoint.endpoint}/hello.txt")
            if reply.status_code == 200:
                break
            await asyncio.sleep(0.05)

    assert reply.text == "from inside"


async def test_a_manager_lists_by_metadata_and_acts_by_id(
    sdk: SimpleNamespace, sandbox: Any
) -> None:
    box = await sdk.Sandbox.create("base", timeout=MINUTES, metadata={"colour": sdk.name})
    manager = await sdk.Manager.create()

    found = await manager.list_sandbox_infos(
        SandboxFilter(states=["Running"], metadata={"colour": sdk.name})
    )
    assert [i.id for i in found.sandbox_infos] == [box.id]
    assert {box.id, sandbox.id} <= {
        i.id for i in (await manager.list_sandbox_infos()).sandbox_infos
    }

    await manager.pause_sandbox(box.id)
    assert (await manager.get_sandbox_info(box.id)).status.state == "Paused"
    await manager.resume_sandbox(box.id)
    renewed = await manager.renew_sandbox(box.id, timedelta(hours=1))
    assert renewed.expires_at > datetime.now(timezone.utc) + timedelta(minutes=50)
    await manager.kill_sandbox(box.id)
    with pytest.raises(SandboxApiException):
        await manager.get_sandbox_info(box.id)
    await manager.close()
    await box.close()


async def test_a_health_check_of_ones_own_decides(sdk: SimpleNamespace) -> None:
    asked = []

    if sdk.name == "async":

        async def check(box: Any) -> bool:
            asked.append(box.id)
            return len(asked) > 2
    else:

        def check(box: Any) -> bool:  # type: ignore[misc]
            asked.append(box.id)
            return len(asked) > 2

    box = await sdk.Sandbox.create("base", timeout=MINUTES, health_check=check)
    assert asked == [box.id] * 3
    await box.destroy()


async def test_a_sandbox_that_does_not_become_ready_is_killed(sdk: SimpleNamespace) -> None:
    refusals = []

    def never(box: Any) -> bool:
        refusals.append(box.id)
        return False

    with pytest.raises(SandboxReadyTimeoutException):
        await sdk.Sandbox.create("base", ready_timeout=timedelta(seconds=1), health_check=never)

    manager = await sdk.Manager.create()
    with pytest.raises(SandboxApiException) as caught:
        await manager.get_sandbox_info(refusals[0])
    assert caught.value.status_code == 404
    await manager.close()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "image"),
        ({"image": "base", "snapshot_id": "s"}, "one of the two"),
        ({"image": " "}, "blank"),
        ({"image": "base", "timeout": timedelta(0)}, "length of time"),
        ({"image": "base", "entrypoint": "sleep 1"}, "list of words"),
        ({"image": "base", "ready_timeout": timedelta(seconds=-1)}, "length of time"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    sdk: SimpleNamespace, arguments: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidArgumentException, match=word):
        await sdk.Sandbox.create(**arguments)


async def test_an_unknown_image_names_those_that_exist(sdk: SimpleNamespace) -> None:
    with pytest.raises(SandboxApiException) as caught:
        await sdk.Sandbox.create("no-such-image:1")

    assert "no-such-image:1" in str(caught.value)
    assert "base" in str(caught.value)


async def test_an_unknown_id_says_what_to_do(sdk: SimpleNamespace) -> None:
    with pytest.raises(SandboxApiException) as caught:
        await sdk.Sandbox.connect("no-such-id")

    assert caught.value.status_code == 404
    assert caught.value.request_id
    assert "SandboxManager" in str(caught.value)


@pytest.mark.parametrize("port", [0, 65536, "80"])
async def test_a_bad_port_is_refused(sandbox: Any, port: object) -> None:
    with pytest.raises(InvalidArgumentException, match="port"):
        await sandbox.get_endpoint(port)


async def test_a_wrong_key_is_refused(sdk: SimpleNamespace, embedded: Any) -> None:
    domain = embedded.url.removeprefix("http://")
    with pytest.raises(SandboxApiException) as caught:
        await sdk.Sandbox.create(
            "base", connection_config=sdk.Config(domain=domain, api_key="wrong-key")
        )

    assert (caught.value.status_code, caught.value.error.code) == (401, "INVALID_API_KEY")
    assert "wrong-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        ("127.0.0.1:9", SandboxConnectionException),
        ("no-such-host.invalid", SandboxConnectionException),
        ("http://exa mple", SandboxException),
    ],
)
async def test_a_server_that_is_not_there_is_one_sentence(
    sdk: SimpleNamespace, domain: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        brisk = sdk.Config(domain=domain, retry_policy=RetryPolicy.disabled())
        await sdk.Sandbox.create("base", connection_config=brisk)

    assert caught.value.hint


async def test_a_transport_of_ones_own_is_used_and_left_open(sdk: SimpleNamespace) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, request.headers["x-mine"]))
        return httpx.Response(404, json={"code": "X", "message": "gone"})

    transport = httpx.MockTransport(answer)
    config = sdk.Config(domain="h:1", transport=transport, headers={"X-Mine": "1"})

    with pytest.raises(SandboxApiException, match="gone"):
        await sdk.Sandbox.connect("a", connection_config=config)

    assert seen == [("GET", "/v1/sandboxes/a/endpoints/44772", "1")]


WHOLE = {
    "blocking": """
from opensandbox_jupyter import SandboxSync
sandbox = SandboxSync.create("base")
assert sandbox.commands.run("echo hello").stdout == "hello\\n"
sandbox.kill()
sandbox.close()
""",
    "async": """
import asyncio
from opensandbox_jupyter import Sandbox

async def main():
    sandbox = await Sandbox.create("base")
    assert (await sandbox.commands.run("echo hello")).stdout == "hello\\n"
    await sandbox.kill()
    await sandbox.close()

asyncio.run(main())
""",
}


@pytest.mark.parametrize("colour", WHOLE)
def test_a_small_program_loads_no_models_and_no_other_client(colour: str, embedded: Any) -> None:
    program = f"{WHOLE[colour]}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {"pydantic", "httpx", "websockets", "email"} == set()


async def test_the_configuration_in_use_can_be_asked_for(sdk: SimpleNamespace) -> None:
    async with await sdk.Manager.create() as manager:
        config = manager.connection_config

    assert isinstance(config, sdk.Config)
    assert config.get_domain() is None
