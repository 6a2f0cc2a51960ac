"""One of each call that returns something, for :mod:`vendor.values`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

from scenarios import sdk

if TYPE_CHECKING:
    from vendor.values import Notes


async def lifecycle(notes: Notes, box: Any) -> None:
    of = notes.of
    label = {"scenario": sdk.TAG}
    notes.note("create", [box.id, box.origin])
    await of("info", box.get_info())
    await of("patch_metadata", box.patch_metadata({"colour": "red"}))
    await of("renew", box.renew(timedelta(minutes=10)))
    await of("endpoint", box.get_endpoint(18431))
    moment = int((datetime.now(timezone.utc) + timedelta(minutes=5)).timestamp())
    await of("signed_endpoint", box.get_signed_endpoint(18431, moment))
    await of("metrics", box.get_metrics())
    await of("healthy", box.is_healthy())
    await of("diagnostic_logs", box.get_diagnostic_logs("container"))
    events = await box.get_diagnostic_events("runtime")
    notes.note("diagnostic_events", {**vars(events), "content": "", "content_length": 0})
    notes.note("diagnostic_events_kind", type(events).__name__)
    async with await sdk.manager() as manager:
        await of("manager.info", manager.get_sandbox_info(box.id))
        which = sdk.sandboxes.SandboxFilter
        await of("manager.list", manager.list_sandbox_infos(which(metadata=label)))
        none = which(metadata=label, states=["Paused"])
        await of("manager.list_none", manager.list_sandbox_infos(none))
        await of("manager.patch", manager.patch_sandbox_metadata(box.id, {"colour": None}))
        await of("manager.renew", manager.renew_sandbox(box.id, timedelta(minutes=9)))
        await of("manager.logs", manager.get_diagnostic_logs(box.id, "container"))
        await of("manager.pause", manager.pause_sandbox(box.id))

        async def state() -> str:
            return (await box.get_info()).status.state

        await sdk.until(state, lambda found: found == "Paused")
        await of("info_paused", box.get_info())
        await of("manager.resume", manager.resume_sandbox(box.id))
        await sdk.until(state, lambda found: found == "Running")
    again = await sdk.Sandbox.connect(box.id, connection_config=sdk.connection())
    notes.note("connect", [again.id, again.origin])
    await of("check_ready", again.check_ready(timedelta(seconds=20), timedelta(milliseconds=100)))
    await of("close", again.close())


async def other_sandboxes(notes: Notes, _: Any) -> None:
    plain = await sdk.create(timeout=None, entrypoint=["sleep", "600"])
    await notes.of("info_endless", plain.get_info())
    await notes.of("pause", plain.pause())
    await notes.of("kill", plain.kill())
    await plain.close()
    models = sdk.sandboxes
    rich = await sdk.create(
        models.SandboxImageSpec(sdk.IMAGE),
        platform=None,
        network_policy=models.NetworkPolicy(
            default_action="deny", egress=[models.NetworkRule(action="allow", target="a.test")]
        ),
        credential_proxy=models.CredentialProxyConfig(enabled=True),
        extensions={"bootstrap.execd.isolation": "enable"},
        secure_access=True,
        volumes=[models.Volume(name="v", pvc=models.PVC(claim_name=sdk.TAG), mount_path="/v")],
    )
    await notes.of("info_rich", rich.get_info())
    await notes.of("endpoint_rich", rich.get_endpoint(18431))
    await network(notes, rich)
    await isolated(notes, rich)
    await notes.of("destroy", rich.destroy())


async def network(notes: Notes, box: Any) -> None:
    of, models = notes.of, sdk.sandboxes
    await of("egress", box.get_egress_policy())
    rule = models.NetworkRule(action="deny", target="*.b.test")
    await of("egress_patch", box.patch_egress_rules([rule]))
    await of("egress_patched", box.get_egress_policy())
    await of("egress_delete", box.delete_egress_rules(["a.test", "*.b.test"]))
    await of("egress_empty", box.get_egress_policy())
    allowed = models.NetworkRule(action="allow", target="api.example.com")
    await box.patch_egress_rules([allowed])
    key = models.Credential(name="key", source=models.InlineCredentialSource(value="s3cret"))
    binding = models.CredentialBinding(
        name="api",
        match=models.CredentialMatch(hosts=["api.example.com"], methods=["GET"]),
        auth=models.CredentialAuth(type="bearer", credential="key"),
    )
    vault = box.credential_vault
    await notes.error("vault_none", lambda: vault.get())
    await of("vault_create", vault.create(credentials=[key], bindings=[binding]))
    await of("vault", vault.get())
    await of("vault_credential", vault.get_credential("key"))
    await of("vault_binding", vault.get_binding("api"))
    await of("vault_credentials", vault.list_credentials())
    await of("vault_bindings", vault.list_bindings())
    await notes.error("vault_no_binding", lambda: vault.get_binding("none"))
    new = models.Credential(name="key", source=models.InlineCredentialSource(value="other"))
    await of("vault_patch", vault.patch(expected_revision=1, credentials={"replace": [new]}))
    await notes.error(
        "vault_conflict",
        lambda: vault.patch(expected_revision=1, bindings={"delete": ["api"]}),
    )
    await of("vault_delete", vault.delete())


async def isolated(notes: Notes, box: Any) -> None:
    of, models = notes.of, sdk.isolated
    await of("capabilities", box.isolation.capabilities())
    await box.files.create_directories([sdk.filesystem.WriteEntry(path="/workspace")])
    workspace = models.IsolatedWorkspaceSpec(path="/workspace", mode="rw")
    request = models.CreateIsolatedSessionRequest(workspace=workspace, idle_timeout_seconds=600)
    session = await box.isolation.create(request)
    notes.note("isolated_id", session.session_id)
    notes.note("isolated_info", session.info)
    await of("isolated_run", session.run("printf one; exit 7"))
    await of("isolated_get", session.get())
    await of("isolated_list", box.isolation.list())
    again = await box.isolation.attach(session.session_id)
    notes.note("isolated_attach", again.info)
    begun = await of("isolated_background", session.run_background("echo slow; exit 3"))

    async def status() -> Any:
        return await session.run_status(begun.run_id)

    notes.note("isolated_status", await sdk.until(status, lambda found: not found.running))
    await of("isolated_logs", session.run_logs(begun.run_id))
    await of("isolated_write", session.files.write_file("/workspace/f", "text"))
    await of("isolated_read", session.files.read_file("/workspace/f"))
    await of("isolated_files", session.files.get_file_info(["/workspace/f"]))
    await notes.error("isolated_no_run", lambda: session.run_status("none"))
    await of("isolated_delete", session.delete())
    await notes.error("isolated_gone", lambda: session.get())
    await of("isolated_once", box.isolation.run_once("pwd", workspace="/workspace"))
    await of("isolated_list_none", box.isolation.list())


async def commands(notes: Notes, box: Any) -> None:
    of, run, opts = notes.of, box.commands.run, sdk.execd.RunCommandOpts
    seen: dict[str, list[Any]] = {}

    def handlers(*names: str) -> Any:
        def keep(name: str) -> Callable[[Any], Awaitable[None]]:
            async def note(message: Any) -> None:
                seen.setdefault(name, []).append(message)

            return note

        return sdk.handlers(**{f"on_{name}": keep(name) for name in names})

    events = ("init", "stdout", "stderr", "execution_complete", "error", "result")
    await of("run", run("printf one; sleep 0.1; printf two >&2", handlers=handlers(*events)))
    notes.note("run_events", dict(sorted(seen.items())))
    seen.clear()
    await of("run_failed", run("printf one; exit 9", handlers=handlers(*events)))
    notes.note("run_failed_events", dict(sorted(seen.items())))
    await of("run_lines", run("printf 'one\\r\\ntwo\\n\\n'"))
    await of("run_unicode", run("printf 'grüße 🎈'"))
    await of("run_silent", run("true"))
    await of("run_unknown", run("no-such-program-anywhere 2>/dev/null"))
    await of("run_killed", run("kill -9 $$"))
    await of("run_late", run("printf begun; sleep 600", opts=opts(timeout=timedelta(seconds=1))))
    await of("run_words", run(["printf", "%s|%s", "a b", "$HOME"]))
    await notes.error("run_nowhere", lambda: run("ls", opts=opts(working_directory="/no/such")))
    await notes.error("run_blank", lambda: run(" "))
    line = "printf one; exit 3"
    begun = await of("background", run(line, opts=opts(background=True)))

    async def status() -> Any:
        return await box.commands.get_command_status(begun.id)

    notes.note("status_ended", await sdk.until(status, lambda found: not found.running))
    await of("logs", box.commands.get_background_command_logs(begun.id))
    await of("logs_rest", box.commands.get_background_command_logs(begun.id, 3))
    good = await run("true", opts=opts(background=True))

    async def good_status() -> Any:
        return await box.commands.get_command_status(good.id)

    notes.note("status_good", await sdk.until(good_status, lambda found: not found.running))
    long = await run("sleep 600", opts=opts(background=True))

    async def long_status() -> Any:
        return await box.commands.get_command_status(long.id)

    await of("status", long_status())
    await of("interrupt", box.commands.interrupt(long.id))
    notes.note("status_stopped", await sdk.until(long_status, lambda found: not found.running))
    for call in ("get_command_status", "get_background_command_logs", "interrupt"):
        await notes.error(f"{call}_none", lambda call=call: getattr(box.commands, call)("none"))
    await of("set_env", box.commands.set_env("KEPT", "yes"))
    session = await of("session", box.commands.create_session(working_directory="/tmp"))
    await of("session_run", box.commands.run_in_session(session, "printf one; pwd >&2"))
    await of("session_failed", box.commands.run_in_session(session, "(exit 4)"))
    await of("session_delete", box.commands.delete_session(session))
    await notes.error("session_gone", lambda: box.commands.run_in_session(session, "pwd"))
    await notes.error("session_none", lambda: box.commands.delete_session(session))


async def files(notes: Notes, box: Any) -> None:
    of, models, at = notes.of, sdk.filesystem, "/tmp/values"
    call = box.files
    await of("write_file", call.write_file(f"{at}/a.txt", "hällo\nwörld\n", mode=640))
    entry = models.WriteEntry(path=f"{at}/b.txt", data=b"bytes", mode=600)
    await of("write_files", call.write_files([entry]))
    await of("create_directories", call.create_directories([models.WriteEntry(path=f"{at}/d")]))
    await box.commands.run(f"ln -s a.txt {at}/link")
    await of("read_file", call.read_file(f"{at}/a.txt"))
    await of("read_bytes", call.read_bytes(f"{at}/a.txt"))
    await of("read_range", call.read_bytes(f"{at}/a.txt", range_header="bytes=0-1"))
    await of("read_lines", call.read_file(f"{at}/a.txt", offset=2, limit=1))
    pieces = [one async for one in await call.read_bytes_stream(f"{at}/a.txt", chunk_size=4)]
    notes.note("read_stream", pieces)
    await of("file_info", call.get_file_info([f"{at}/a.txt", f"{at}/d", f"{at}/link"]))
    await of("search", call.search(models.SearchEntry(path=at, pattern="a.*")))
    await of("search_none", call.search(models.SearchEntry(path=at, pattern="*.none")))
    listed = await call.list_directory(models.DirectoryListEntry(path=at, depth=1))
    notes.note("list_directory", sorted(listed, key=lambda one: one.path))
    change = models.ContentReplaceEntry(path=f"{at}/a.txt", old_content="ö", new_content="oe")
    await of("replace_detailed", call.replace_contents_detailed([change]))
    await of("replace", call.replace_contents([change]))
    move = models.MoveEntry(src=f"{at}/b.txt", dest=f"{at}/c.txt")
    await of("move", call.move_files([move]))
    mode = models.SetPermissionEntry(path=f"{at}/c.txt", mode=644)
    await of("permissions", call.set_permissions([mode]))
    await of("delete_files", call.delete_files([f"{at}/c.txt"]))
    await notes.error("read_none", lambda: call.read_file(f"{at}/none"))
    await notes.error("file_info_none", lambda: call.get_file_info([f"{at}/none"]))
    nowhere = models.SearchEntry(path="/no", pattern="*")
    await notes.error("search_nowhere", lambda: call.search(nowhere))
    await of("delete_directories", call.delete_directories([at]))


async def codes(notes: Notes, box: Any) -> None:
    of, python = notes.of, sdk.Language.PYTHON
    interpreter = await sdk.interpreter(box)
    notes.note("interpreter", interpreter.id)
    notes.note("language", python)
    call = interpreter.codes
    await of("codes_ping", call.ping())
    context = await of("context", call.create_context(python))
    await of("context_get", call.get_context(context.id))
    seen: list[Any] = []

    async def keep(message: Any) -> None:
        seen.append(message)

    on = ("init", "stdout", "stderr", "result", "error", "execution_complete")
    handlers = sdk.handlers(**{f"on_{name}": keep for name in on})
    code = "print('said', flush=True)\nimport time; time.sleep(0.1)\n6 * 7"
    await of("code", call.run(code, context=context, handlers=handlers))
    notes.note("code_events", seen)
    await of("code_quiet", call.run("x = 1", context=context))
    await of("code_failed", call.run("1 / 0", context=context))
    rich = "class A:\n def _repr_html_(self): return '<b>'\n def __repr__(self): return 'a'\nA()"
    await of("code_rich", call.run(rich, context=context))
    await of("code_bash", call.run("printf seven", language=sdk.Language.BASH))
    await of("context_delete", call.delete_context(context.id))
    await notes.error("context_none", lambda: call.get_context(context.id))
    await notes.error("code_gone", lambda: call.run("1", context=context))
    await of("contexts_delete", call.delete_contexts(python))
    await of("contexts_none", call.list_contexts(python))
    await call.create_context(python)
    await of("contexts", call.list_contexts(python))


async def keeping(notes: Notes, box: Any) -> None:
    of = notes.of
    async with await sdk.manager() as manager:
        made = await of("snapshot", box.create_snapshot("kept"))

        async def snapshot() -> Any:
            return await manager.get_snapshot(made.id)

        notes.note("snapshot_get", await sdk.until(snapshot, lambda it: it.status.state == "Ready"))
        which = sdk.sandboxes.SnapshotFilter(sandbox_id=box.id)
        await of("snapshots", manager.list_snapshots(which))
        second = await sdk.create(None, snapshot_id=made.id)
        await of("info_of_snapshot", second.get_info())
        await second.destroy()
        await of("snapshot_delete", manager.delete_snapshot(made.id))
        await notes.error("snapshot_none", lambda: manager.get_snapshot(made.id))
        request = sdk.templates.CreateTemplateRequest(
            image=sdk.IMAGE, publish="s3://here/it", env={"FROM": "template"}
        )
        template = await of("template", manager.create_template(request))

        async def built() -> Any:
            return await manager.get_template(template.template_id)

        found = await sdk.until(built, lambda it: it.status.phase == "Succeeded")
        notes.note("template_get", found)
        page = await manager.list_templates(sdk.templates.TemplateFilter())
        mine = [one for one in page.template_infos if one.template_id == template.template_id]
        notes.note("templates", [type(page).__name__, page.pagination.page, *mine])
        third = await sdk.Sandbox.create_from_template(
            template.template_id,
            timeout=sdk.LIFETIME,
            metadata={"scenario": sdk.TAG},
            connection_config=sdk.connection(),
        )
        notes.note("create_from_template", [third.id, third.origin])
        await of("info_of_template", third.get_info())
        await third.destroy()
        await of("template_delete", manager.delete_template(template.template_id))
        await notes.error("template_none", lambda: manager.get_template(template.template_id))


async def mistakes(notes: Notes, box: Any) -> None:
    models, nobody = sdk.sandboxes, "00000000-0000-4000-8000-000000000000"
    await notes.error("bad_filter", lambda: models.SandboxFilter(page_size=0))
    await notes.error("blank_image", lambda: models.SandboxImageSpec(" "))
    await notes.error("bad_rule", lambda: models.NetworkRule(action="allow", target=" "))
    await notes.error("bad_opts", lambda: sdk.execd.RunCommandOpts(uid=-1))
    connection = sdk.connection()
    create = sdk.Sandbox.create
    await notes.error("create_of_nothing", lambda: create(None, connection_config=connection))
    await notes.error("bad_label", lambda: sdk.create(metadata={"no label": "at all"}))
    await notes.error("bad_timeout", lambda: sdk.create(timeout=timedelta(seconds=1)))
    await notes.error("no_image", lambda: sdk.create("no-such-image:ever"))

    async def never(_: Any) -> bool:
        return False

    await notes.error(
        "never_ready",
        lambda: sdk.create(health_check=sdk.handler(never), ready_timeout=timedelta(seconds=1)),
    )
    connect = sdk.Sandbox.connect
    await notes.error("connect_none", lambda: connect(nobody, connection_config=connection))
    async with await sdk.manager() as manager:
        await notes.error("info_none", lambda: manager.get_sandbox_info(nobody))
        await notes.error("kill_none", lambda: manager.kill_sandbox(nobody))
    once = import_module(f"{sdk.PACKAGE}.transport").RetryPolicy.disabled()
    nowhere = sdk.connection(domain="127.0.0.1:1", retry_policy=once)
    await notes.error("nobody_answers", lambda: create(sdk.IMAGE, connection_config=nowhere))
    stranger = sdk.connection(api_key="wrong")
    await notes.error("wrong_key", lambda: create(sdk.IMAGE, connection_config=stranger))


ROOMS = (lifecycle, commands, files, codes, keeping, mistakes, other_sandboxes)
