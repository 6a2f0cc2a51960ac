"""A sandbox's life, from create to kill, and what is known of it."""

from __future__ import annotations

import urllib.request
from datetime import datetime, timedelta, timezone
from typing import Any

from scenarios import sdk


async def is_made_as_asked() -> None:
    sandbox = await sdk.create(
        env={"WHO": "me"},
        metadata={"purpose": "look"},
        resource={"cpu": "1", "memory": "1Gi"},
        timeout=timedelta(minutes=7),
        entrypoint=["sleep", "3600"],
    )
    info = await sandbox.get_info()
    assert (info.id, info.status.state) == (sandbox.id, "Running"), info
    assert {"purpose": "look", "scenario": sdk.TAG}.items() <= info.metadata.items()
    assert info.entrypoint == ["sleep", "3600"]
    assert info.image.image
    left = info.expires_at - datetime.now(timezone.utc)
    assert timedelta(minutes=5) < left < timedelta(minutes=8), left
    assert (await sandbox.commands.run("echo $WHO")).text == "me"
    await sandbox.destroy()


async def has_no_end_without_a_timeout() -> None:
    sandbox = await sdk.create(timeout=None)
    assert (await sandbox.get_info()).expires_at is None
    await sandbox.destroy()


async def is_listed_by_label_and_state_page_by_page(sandbox: Any) -> None:
    label = {"scenario": sdk.TAG, "pair": "yes"}
    pair = [await sdk.create(metadata={"pair": "yes"}) for _ in range(2)]
    async with await sdk.manager() as manager:

        async def found(**how: Any) -> Any:
            return await manager.list_sandbox_infos(sdk.sandboxes.SandboxFilter(**how))

        everything = await found(metadata=label, states=["Running"])
        assert {info.id for info in everything.sandbox_infos} == {box.id for box in pair}
        first = await found(metadata=label, page=1, page_size=1)
        second = await found(metadata=label, page=2, page_size=1)
        assert {info.id for page in (first, second) for info in page.sandbox_infos} == {
            box.id for box in pair
        }
        assert (first.pagination.has_next_page, second.pagination.has_next_page) == (True, False)
        assert (first.pagination.total_items, first.pagination.total_pages) == (2, 2)
        assert (await found(metadata=label, states=["Paused"])).sandbox_infos == []
        assert (await found(metadata=label, page=9)).sandbox_infos == []
        assert (await manager.get_sandbox_info(sandbox.id)).id == sandbox.id
        for box in pair:
            await manager.kill_sandbox(box.id)
            await box.close()
        await sdk.until(lambda: found(metadata=label), lambda page: not page.sandbox_infos)


async def lives_longer_when_renewed(sandbox: Any) -> None:
    later = datetime.now(timezone.utc) + timedelta(minutes=20)
    assert (await sandbox.renew(timedelta(minutes=25))).expires_at > later
    assert (await sandbox.get_info()).expires_at > later
    async with await sdk.manager() as manager:
        await manager.renew_sandbox(sandbox.id, timedelta(minutes=15))
    assert (await sandbox.get_info()).expires_at < later


async def is_found_again_by_its_id(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/left", "here")
    async with await sdk.Sandbox.connect(sandbox.id, connection_config=sdk.connection()) as again:
        assert await again.is_healthy()
        await again.check_ready(timedelta(seconds=20), timedelta(milliseconds=100))
        assert await again.files.read_file("/tmp/left") == "here"
    assert await sandbox.is_healthy()


async def is_paused_and_resumed() -> None:
    sandbox = await sdk.create()
    await sdk.there(sandbox.pause())

    async def state() -> str:
        return (await sandbox.get_info()).status.state

    await sdk.until(state, lambda found: found == "Paused")
    await sdk.refused(sandbox.pause(), 409)
    again = await sdk.Sandbox.resume(sandbox.id, connection_config=sdk.connection())
    assert (await again.commands.run("echo awake")).text == "awake"
    await again.close()
    async with await sdk.manager() as manager:
        await manager.pause_sandbox(sandbox.id)
        await sdk.until(state, lambda found: found == "Paused")
        await manager.resume_sandbox(sandbox.id)
        await sdk.until(state, lambda found: found == "Running")
    await sandbox.destroy()


async def has_labels_that_change(sandbox: Any) -> None:
    info = await sdk.there(sandbox.patch_metadata({"colour": "red", "size": "s"}))
    assert {"colour": "red", "size": "s", "scenario": sdk.TAG}.items() <= info.metadata.items()
    async with await sdk.manager() as manager:
        info = await manager.patch_sandbox_metadata(sandbox.id, {"size": None})
    assert info.metadata["colour"] == "red"
    assert "size" not in (await sandbox.get_info()).metadata


async def serves_at_an_endpoint(sandbox: Any) -> None:
    await sandbox.files.write_file("/tmp/www/page", "served")
    serve = "python3 -m http.server 18431 --directory /tmp/www"
    await sandbox.commands.run(serve, opts=sdk.execd.RunCommandOpts(background=True))
    endpoint = await sandbox.get_endpoint(18431)
    scheme = sdk.connection().get_protocol() if sdk.OURS else sdk.connection().protocol
    headers = dict(endpoint.headers)
    if "/proxy/" in endpoint.endpoint:
        headers |= {"OPEN-SANDBOX-API-KEY": sdk.connection().get_api_key()}
    request = urllib.request.Request(f"{scheme}://{endpoint.endpoint}/page", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def page() -> bytes:
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.read()
        except OSError as error:
            return repr(error).encode()

    await sdk.until(page, lambda found: found == b"served")


async def has_signed_endpoints(sandbox: Any) -> None:
    moment = int((datetime.now(timezone.utc) + timedelta(minutes=5)).timestamp())
    endpoint = await sdk.there(sandbox.get_signed_endpoint(18431, moment))
    assert endpoint.endpoint


async def tells_its_load(sandbox: Any) -> None:
    metrics = await sandbox.get_metrics()
    assert metrics.cpu_count > 0
    assert 0 <= metrics.memory_used_in_mib <= metrics.memory_total_in_mib
    assert metrics.timestamp > 1_600_000_000_000


async def tells_what_happened(sandbox: Any) -> None:
    events = await sdk.there(sandbox.get_diagnostic_events("runtime"))
    assert (events.sandbox_id, events.kind, events.scope) == (sandbox.id, "events", "runtime")
    async with await sdk.manager() as manager:
        assert (await manager.get_diagnostic_logs(sandbox.id, "container")).kind == "logs"


async def is_gone_once_killed() -> None:
    sandbox = await sdk.create()
    await sandbox.kill()

    async def gone() -> bool:
        try:
            await sandbox.get_info()
        except sdk.ApiError as error:
            return error.status_code == 404
        return False

    await sdk.until(gone, bool)
    await sdk.refused(sandbox.kill(), 404)
    await sandbox.close()
