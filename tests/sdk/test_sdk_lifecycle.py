"""Metadata, diagnostics, snapshots, templates, policies and credentials, in both colours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.models.execd import RunCommandOpts
from opensandbox_jupyter.models.sandboxes import NetworkPolicy, NetworkRule
from opensandbox_jupyter.models.snapshots import SnapshotFilter
from opensandbox_jupyter.models.templates import (
    CreateTemplateRequest,
    TemplateFilter,
    TemplateReadiness,
)
from opensandbox_jupyter.models.vault import (
    Credential,
    CredentialAuth,
    CredentialBinding,
    CredentialMatch,
    CredentialProxyConfig,
    InlineCredentialSource,
)

LIFETIME = timedelta(minutes=5)


async def until(look: Callable[[], Awaitable[Any]], wanted: str) -> None:
    for _ in range(200):
        if (found := await look()) == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_metadata(sdk: SimpleNamespace, sandbox: Any) -> None:
    await sandbox.patch_metadata({"a": "1", "b": "2"})
    info = await sandbox.patch_metadata({"a": None, "c": "3"})
    assert info.metadata == {"b": "2", "c": "3"}
    async with await sdk.Manager.create() as manager:
        info = await manager.patch_sandbox_metadata(sandbox.id, {"b": None})
        assert info.metadata == {"c": "3"}
        with pytest.raises(SandboxApiException) as caught:
            await manager.patch_sandbox_metadata(sandbox.id, {"a b": "c"})
        assert caught.value.status_code == 400


async def test_diagnostics(sandbox: Any) -> None:
    events = await sandbox.get_diagnostic_events("runtime")
    assert "SANDBOX_RUNNING" in events.content
    assert (events.kind, events.truncated) == ("events", False)
    logs = await sandbox.diagnostics.get_logs(sandbox.id, "container")
    assert logs.sandbox_id == sandbox.id
    with pytest.raises(SandboxApiException, match="scopes are"):
        await sandbox.get_diagnostic_logs("nowhere")


async def test_a_signed_endpoint_needs_no_key(sandbox: Any) -> None:
    serve = "cd /workspace && echo served > page && exec python3 -m http.server 8000"
    opts = RunCommandOpts(background=True)
    await sandbox.commands.run(serve, opts=opts)
    await sandbox.wait_for_port(8000)
    found = await sandbox.get_signed_endpoint(8000, int(time.time()) + 60)
    assert httpx.get(f"http://{found.endpoint}/page").text == "served\n"
    with pytest.raises(SandboxApiException, match="still to come"):
        await sandbox.get_signed_endpoint(8000, 99)


async def test_snapshots(sdk: SimpleNamespace, sandbox: Any) -> None:
    await sandbox.files.write_file("/workspace/kept", "yes")
    snapshot = await sandbox.create_snapshot("mine")
    async with await sdk.Manager.create() as manager:

        async def state() -> str:
            return (await manager.get_snapshot(snapshot.id)).status.state

        await until(state, "Ready")
        which = SnapshotFilter(sandbox_id=sandbox.id, name="mine", states=["Ready"], page_size=5)
        page = await manager.list_snapshots(which)
        assert [one.id for one in page.snapshot_infos] == [snapshot.id]
        other = await sdk.Sandbox.create(snapshot_id=snapshot.id, timeout=LIFETIME)
        assert await other.files.read_file("/workspace/kept") == "yes"
        assert (await other.get_info()).snapshot_id == snapshot.id
        await other.destroy()
        await manager.delete_snapshot(snapshot.id)
        with pytest.raises(SandboxApiException) as caught:
            await manager.get_snapshot(snapshot.id)
        assert caught.value.status_code == 404


async def test_templates(sdk: SimpleNamespace) -> None:
    async with await sdk.Manager.create() as manager:
        template = await manager.create_template(
            CreateTemplateRequest(
                image="python",
                publish="here",
                metadata={"of": sdk.name},
                env={"FROM_TEMPLATE": "yes"},
                readiness=TemplateReadiness(probe="tcp://127.0.0.1:44772"),
            )
        )

        async def phase() -> str:
            return (await manager.get_template(template.template_id)).status.phase

        await until(phase, "Succeeded")
        page = await manager.list_templates(TemplateFilter(metadata={"of": sdk.name}))
        assert [one.template_id for one in page.template_infos] == [template.template_id]
        sandbox = await sdk.Sandbox.create_from_template(template.template_id, timeout=LIFETIME)
        assert (await sandbox.commands.run("echo $FROM_TEMPLATE")).text == "yes"
        await sandbox.destroy()
        await manager.delete_template(template.template_id)
        with pytest.raises(SandboxApiException) as caught:
            await sdk.Sandbox.create_from_template(template.template_id, timeout=LIFETIME)
        assert caught.value.error.code == "FSB::TEMPLATE_NOT_FOUND"


async def test_what_a_sandbox_may_reach(sandbox: Any) -> None:
    await sandbox.patch_egress_rules([NetworkRule(action="deny", target="a.test")])
    policy = await sandbox.get_egress_policy()
    assert policy.egress[0].target == "a.test"
    await sandbox.delete_egress_rules(["a.test"])
    assert "a.test" not in str(await sandbox.get_egress_policy())
    with pytest.raises(InvalidArgumentException):
        await sandbox.patch_egress_rules([])


async def test_credentials(sdk: SimpleNamespace) -> None:
    sandbox = await sdk.Sandbox.create(
        "python",
        timeout=LIFETIME,
        network_policy=NetworkPolicy(),
        credential_proxy=CredentialProxyConfig(enabled=True),
    )
    vault = sandbox.credential_vault
    secret = Credential(name="key", source=InlineCredentialSource(value="s3cret"))
    assert "s3cret" not in repr(secret)
    binding = CredentialBinding(
        name="api",
        match=CredentialMatch(hosts=["api.test"]),
        auth=CredentialAuth(type="bearer", credential="key"),
    )
    state = await vault.create(credentials=[secret], bindings=[binding])
    assert (state.revision, state.credentials[0].name) == (1, "key")
    assert (await vault.get_binding("api")).match.hosts == ["api.test"]
    assert [one.source_type for one in await vault.list_credentials()] == ["inline"]
    state = await vault.patch(expected_revision=1, bindings={"delete": ["api"]})
    assert (state.revision, await vault.list_bindings()) == (2, [])
    with pytest.raises(SandboxApiException) as caught:
        await vault.patch(expected_revision=1, credentials={"delete": ["key"]})
    assert caught.value.status_code == 409
    await vault.delete()
    with pytest.raises(SandboxApiException) as caught:
        await vault.get_credential("key")
    assert caught.value.status_code == 404
    await sandbox.destroy()
