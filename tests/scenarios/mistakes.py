"""What goes wrong, and how it is told."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from scenarios import sdk


async def tells_what_is_not_there() -> None:
    nobody = str(uuid.uuid4())
    async with await sdk.manager() as manager:
        error = await sdk.refused(manager.get_sandbox_info(nobody), 404)
        assert error.error.code
        assert error.request_id
        await sdk.refused(manager.kill_sandbox(nobody), 404)
        await sdk.refused(manager.renew_sandbox(nobody, timedelta(minutes=5)), 404)
    await sdk.refused(sdk.Sandbox.connect(nobody, connection_config=sdk.connection()), 404)


async def tells_a_wrong_key() -> None:
    if not sdk.connection().get_api_key():
        raise sdk.NotThere("this server asks for no key")
    async with await sdk.Manager.create(sdk.connection(api_key="wrong")) as manager:
        error = await sdk.refused(
            manager.list_sandbox_infos(sdk.sandboxes.SandboxFilter()), 401, 403
        )
    assert "wrong" not in str(error)


async def tells_that_nobody_answers() -> None:
    nowhere = sdk.connection(domain="127.0.0.1:1", request_timeout=timedelta(seconds=5))
    try:
        await sdk.Sandbox.create(sdk.IMAGE, connection_config=nowhere)
    except sdk.exceptions.SandboxConnectionException as error:
        assert error.is_retryable
    else:
        raise AssertionError("somebody answered")


async def refuses_before_it_asks(sandbox: Any) -> None:
    sdk.invalid(lambda: sdk.sandboxes.SandboxFilter(page_size=0))
    sdk.invalid(lambda: sdk.sandboxes.SandboxImageSpec(" "))
    sdk.invalid(lambda: sdk.sandboxes.NetworkRule(action="allow", target=" "))
    sdk.invalid(lambda: sdk.execd.RunCommandOpts(uid=-1))
    for call in (
        sandbox.commands.run("  "),
        sdk.Sandbox.create(None, connection_config=sdk.connection()),
        sdk.Sandbox.create("a", snapshot_id="b", connection_config=sdk.connection()),
        sandbox.commands.run_in_session("id", "ls", timeout=timedelta(seconds=-1)),
    ):
        try:
            await call
        except sdk.exceptions.InvalidArgumentException:
            continue
        raise AssertionError("it was sent")


async def tells_what_the_server_refuses() -> None:
    await sdk.refused(sdk.create(metadata={"no label": "at all"}), 400, 422)
    await sdk.refused(sdk.create(timeout=timedelta(seconds=1)), 400, 422)


async def leaves_nothing_that_was_not_ready() -> None:
    async def never(_: Any) -> bool:
        return False

    label = {"never": uuid.uuid4().hex[:8]}
    try:
        await sdk.create(
            metadata=dict(label),
            health_check=sdk.handler(never),
            ready_timeout=timedelta(seconds=3),
        )
    except sdk.exceptions.SandboxReadyTimeoutException:
        pass
    else:
        raise AssertionError("it was ready")
    async with await sdk.manager() as manager:

        async def left() -> Any:
            which = sdk.sandboxes.SandboxFilter(metadata=label)
            return (await manager.list_sandbox_infos(which)).sandbox_infos

        await sdk.until(left, lambda found: not found)
