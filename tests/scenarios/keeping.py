"""Snapshots and templates: what outlives a sandbox."""

from __future__ import annotations

from typing import Any

from scenarios import sdk


async def begins_from_a_snapshot(sandbox: Any) -> None:
    await sandbox.files.write_file("/root/kept", "kept")
    name = f"s-{sdk.TAG}"
    snapshot = await sdk.there(sandbox.create_snapshot(name))
    async with await sdk.manager() as manager:

        async def state() -> str:
            return (await manager.get_snapshot(snapshot.id)).status.state

        await sdk.until(state, lambda found: found != "Creating")
        assert await state() == "Ready"
        which = sdk.sandboxes.SnapshotFilter(sandbox_id=sandbox.id, states=["Ready"])
        listed = (await manager.list_snapshots(which)).snapshot_infos
        assert [(one.id, one.name) for one in listed] == [(snapshot.id, name)]
        second = await sdk.create(None, snapshot_id=snapshot.id)
        assert await second.files.read_file("/root/kept") == "kept"
        assert (await second.get_info()).snapshot_id == snapshot.id
        await second.destroy()
        await manager.delete_snapshot(snapshot.id)
        await sdk.refused(manager.get_snapshot(snapshot.id), 404)


async def begins_from_a_template() -> None:
    request = sdk.templates.CreateTemplateRequest(
        image=sdk.IMAGE, publish="s3://here/it", env={"FROM": "template"}
    )
    async with await sdk.manager() as manager:
        template = await sdk.there(manager.create_template(request))

        async def phase() -> str:
            return (await manager.get_template(template.template_id)).status.phase

        await sdk.until(phase, lambda found: found in {"Succeeded", "Failed"})
        assert await phase() == "Succeeded"
        listed = (await manager.list_templates(sdk.templates.TemplateFilter())).template_infos
        assert template.template_id in {one.template_id for one in listed}
        sandbox = await sdk.Sandbox.create_from_template(
            template.template_id,
            timeout=sdk.LIFETIME,
            metadata={"scenario": sdk.TAG},
            connection_config=sdk.connection(),
        )
        assert sandbox.origin == "template"
        rule = sdk.sandboxes.NetworkRule(action="deny", target="a.test")
        await sandbox.patch_egress_rules([rule])
        assert (await sandbox.get_egress_policy()).egress[0].target == "a.test"
        assert (await sandbox.commands.run("echo $FROM")).text == "template"
        await sandbox.destroy()
        await manager.delete_template(template.template_id)
        await sdk.refused(manager.get_template(template.template_id), 404)
