"""A user's program, for type checkers: what they see of this package. Nobody runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from typing_extensions import assert_type

from opensandbox_jupyter import (
    AcquirePolicy,
    ConnectionConfig,
    ConnectionConfigSync,
    InMemoryAsyncPoolStateStore,
    InMemoryPoolStateStore,
    PoolCreationSpec,
    Sandbox,
    SandboxException,
    SandboxManager,
    SandboxManagerSync,
    SandboxPool,
    SandboxPoolAsync,
    SandboxPoolManagerAsync,
    SandboxSync,
)
from opensandbox_jupyter.code_interpreter import (
    CodeContext,
    CodeInterpreter,
    CodeInterpreterSync,
    SupportedLanguage,
)
from opensandbox_jupyter.exceptions import CommandFailed, SandboxApiException
from opensandbox_jupyter.models import Execution, NetworkPolicy, SandboxInfo, WriteEntry
from opensandbox_jupyter.models.execd import (
    CommandLogs,
    CommandStatus,
    ExecutionComplete,
    ExecutionError,
    ExecutionHandlers,
    ExecutionInit,
    ExecutionResult,
    OutputMessage,
    RunCommandOpts,
)
from opensandbox_jupyter.models.filesystem import (
    ContentReplaceEntry,
    ContentReplaceResult,
    DirectoryListEntry,
    EntryInfo,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
)
from opensandbox_jupyter.models.isolated import (
    CreateIsolatedSessionRequest,
    IsolatedCapabilities,
    IsolatedWorkspaceSpec,
)
from opensandbox_jupyter.models.pty import PtyOutput
from opensandbox_jupyter.models.sandboxes import (
    Credential,
    CredentialAuth,
    CredentialBinding,
    CredentialMatch,
    CredentialVaultState,
    Host,
    InlineCredentialSource,
    NetworkRule,
    SandboxEndpoint,
    SandboxFilter,
    SandboxImageAuth,
    SandboxImageSpec,
    SandboxMetrics,
    SandboxState,
    SnapshotFilter,
    SnapshotInfo,
    Volume,
)
from opensandbox_jupyter.models.templates import CreateTemplateRequest, TemplateInfo
from opensandbox_jupyter.pool import PoolDestroyResult, PooledSandboxCreateContext, PoolSnapshot
from opensandbox_jupyter.sync import SandboxSync as TheSame

RULE = NetworkRule(action="allow", target="example.com")
KEY = Credential(name="key", source=InlineCredentialSource(value="secret"))
BINDING = CredentialBinding(
    name="api",
    match=CredentialMatch(hosts=["example.com"]),
    auth=CredentialAuth(type="bearer", credential="key"),
)


async def note(message: OutputMessage) -> None:
    print(message.text, message.timestamp, message.is_error)


def note_at_once(message: OutputMessage) -> None:
    assert_type(message.text, str)


async def life() -> None:
    config = ConnectionConfig(domain="localhost:8080", request_timeout=timedelta(seconds=3))
    spec = SandboxImageSpec("python:3", auth=SandboxImageAuth(username="me", password="secret"))
    share = Volume(name="here", host=Host(path="/data"), mount_path="/mnt", read_only=True)
    async with await Sandbox.create(
        spec,
        timeout=timedelta(minutes=5),
        env={"A": "b"},
        metadata={"tag": "c"},
        network_policy=NetworkPolicy(default_action="deny", egress=[RULE]),
        volumes=[share],
        connection_config=config,
    ) as sandbox:
        assert_type(sandbox, Sandbox)
        assert_type(sandbox.id, str)
        info = await sandbox.get_info()
        assert_type(info, SandboxInfo)
        assert_type(info.status.state, str)
        assert_type(info.metadata, dict[str, str])
        assert_type(info.expires_at, datetime | None)
        assert_type((await sandbox.get_endpoint(80)), SandboxEndpoint)
        assert_type((await sandbox.renew(timedelta(minutes=1))).expires_at, datetime)
        assert_type(await sandbox.get_metrics(), SandboxMetrics)
        assert_type((await sandbox.get_egress_policy()).egress, list[NetworkRule] | None)
        await sandbox.patch_egress_rules([RULE])
        assert_type(await sandbox.patch_metadata({"tag": None}), SandboxInfo)
        assert_type(await sandbox.create_snapshot("name"), SnapshotInfo)
        vault = sandbox.credential_vault
        state = await vault.create(credentials=[KEY], bindings=[BINDING])
        assert_type(state, CredentialVaultState)
        assert_type(state.revision, int)
        assert_type(await sandbox.is_healthy(), bool)
        await sandbox.pause()
        await sandbox.kill()
    assert_type(await Sandbox.connect("id", config), Sandbox)
    assert_type(await Sandbox.resume("id"), Sandbox)


async def manage() -> None:
    async with await SandboxManager.create() as manager:
        page = await manager.list_sandbox_infos(SandboxFilter(states=[SandboxState.RUNNING]))
        assert_type(page.sandbox_infos, list[SandboxInfo])
        assert_type(page.pagination.has_next_page, bool)
        snapshots = await manager.list_snapshots(SnapshotFilter(sandbox_id="id"))
        assert_type(snapshots.snapshot_infos, list[SnapshotInfo])
        template = await manager.create_template(CreateTemplateRequest(image="i", publish="p"))
        assert_type(template, TemplateInfo)


async def commands(sandbox: Sandbox) -> None:
    handlers = ExecutionHandlers(on_stdout=note, on_stderr=note_at_once)
    opts = RunCommandOpts(background=True, timeout=timedelta(seconds=1), envs={"A": "b"}, uid=0)
    execution = await sandbox.commands.run("ls", opts=opts, handlers=handlers)
    assert_type(execution, Execution)
    assert_type(execution.id, str | None)
    assert_type(execution.exit_code, int | None)
    assert_type(execution.text, str)
    assert_type(execution.logs.stdout, list[OutputMessage])
    assert_type(execution.error, ExecutionError | None)
    assert_type(execution.result, list[ExecutionResult])
    try:
        await sandbox.commands.run(["ls", "-l"], timeout=2.5, on_stdout=note, check=True)
    except CommandFailed as failed:
        assert_type(failed.exit_code, int | None)
    async for event in sandbox.commands.stream("ls"):
        assert_type(
            event,
            OutputMessage | ExecutionInit | ExecutionComplete | ExecutionError | ExecutionResult,
        )
    assert_type(await sandbox.commands.get_command_status("id"), CommandStatus)
    assert_type(await sandbox.commands.get_background_command_logs("id", 3), CommandLogs)
    session = await sandbox.commands.create_session(working_directory="/")
    assert_type(session, str)
    assert_type(await sandbox.commands.run_in_session(session, "ls"), Execution)


async def pieces() -> AsyncIterator[bytes]:
    yield b"piece"


async def files(sandbox: Sandbox) -> None:
    files = sandbox.files
    assert_type(await files.read_file("/a"), str)
    assert_type(await files.read_bytes("/a", range_header="bytes=0-1"), bytes)
    async for piece in await files.read_bytes_stream("/a"):
        assert_type(piece, bytes)
    async for piece in files.read_stream("/a"):
        assert_type(piece, bytes)
    await files.write_files([WriteEntry(path="/a", data=b"b", mode=644)])
    await files.write_file("/a", "text")
    await files.write_stream("/a", pieces(), size=5)
    await files.move_files([MoveEntry(src="/a", dest="/b")])
    await files.set_permissions([SetPermissionEntry(path="/a", mode=600)])
    replaced = await files.replace_contents_detailed(
        [ContentReplaceEntry(path="/a", old_content="b", new_content="c")]
    )
    assert_type(replaced, list[ContentReplaceResult])
    assert_type(await files.search(SearchEntry(path="/", pattern="*")), list[EntryInfo])
    listed = await files.list_directory(DirectoryListEntry(path="/", depth=2))
    assert_type(listed[0].size, int)
    assert_type(await files.get_file_info(["/a"]), dict[str, EntryInfo])
    async for change in files.watch("/"):
        assert_type(change.entry, EntryInfo)
    assert_type((await files.upload("here", "/there")).size, int)


async def code(sandbox: Sandbox) -> None:
    interpreter = await CodeInterpreter.create(sandbox)
    context = await interpreter.codes.create_context(SupportedLanguage.PYTHON)
    assert_type(context, CodeContext)
    execution = await interpreter.codes.run("1", context=context, language="python")
    assert_type(execution.result[0].text, str | None)


async def walls(sandbox: Sandbox) -> None:
    assert_type(await sandbox.isolation.capabilities(), IsolatedCapabilities)
    request = CreateIsolatedSessionRequest(workspace=IsolatedWorkspaceSpec(path="/w", mode="rw"))
    async with sandbox.isolation.session(request) as session:
        assert_type(await session.run("ls"), Execution)
        assert_type(await session.files.read_file("/a"), str)


async def terminal(sandbox: Sandbox) -> None:
    async with await sandbox.pty.create() as session:
        await session.resize(80, 24)
        async for output in session.read():
            assert_type(output, PtyOutput)


async def make(context: PooledSandboxCreateContext) -> Sandbox:
    return await Sandbox.create("python:3", timeout=context.idle_timeout)


async def install(sandbox: Sandbox) -> None:
    await sandbox.commands.run("pip install numpy")


async def pools(store: InMemoryAsyncPoolStateStore) -> None:
    async with SandboxPoolAsync(
        pool_name="workers",
        max_idle=3,
        state_store=store,
        connection_config=ConnectionConfig(),
        creation_spec=PoolCreationSpec("python:3"),
        idle_timeout=timedelta(hours=1),
        drain_timeout=5,
        acquire_health_check=lambda sandbox: sandbox.is_healthy(),
        warmup_health_check=lambda sandbox: sandbox.id != "",
        warmup_sandbox_preparer=install,
        sandbox_creator=make,
    ) as pool:
        sandbox = await pool.acquire(timedelta(minutes=1), AcquirePolicy.FAIL_FAST)
        assert_type(sandbox, Sandbox)
        assert_type(await pool.snapshot(), PoolSnapshot)
        assert_type(await pool.release_all_idle(), int)
    manager = SandboxPoolManagerAsync(state_store=store)
    assert_type(await manager.destroy("workers"), PoolDestroyResult)


def blocking_pools() -> None:
    with SandboxPool(
        pool_name="workers",
        max_idle=3,
        state_store=InMemoryPoolStateStore(),
        connection_config=ConnectionConfigSync(),
        creation_spec=PoolCreationSpec("python:3"),
        warmup_health_check=lambda sandbox: sandbox.is_healthy(),
    ) as pool:
        assert_type(pool.acquire(sandbox_timeout=60), SandboxSync)


def blocking(seen: list[str]) -> None:
    config = ConnectionConfigSync(api_key="key", use_server_proxy=True)
    with TheSame.create("python:3", connection_config=config) as sandbox:
        assert_type(sandbox, SandboxSync)
        assert_type(sandbox.get_info(), SandboxInfo)
        assert_type(sandbox.commands.run("ls", on_stdout=note_at_once), Execution)
        for event in sandbox.commands.stream("ls"):
            if isinstance(event, OutputMessage):
                seen.append(event.text)
        assert_type(sandbox.files.read_file("/a"), str)
        for piece in sandbox.files.read_bytes_stream("/a"):
            assert_type(piece, bytes)
        sandbox.files.write_stream("/a", [b"piece"])
        for change in sandbox.files.watch("/"):
            assert_type(change.entry, EntryInfo)
        interpreter = CodeInterpreterSync.create(sandbox)
        assert_type(interpreter.codes.list_contexts("python"), list[CodeContext])
        assert_type(sandbox.get_egress_policy(), NetworkPolicy)
        assert_type(sandbox.credential_vault.get(), CredentialVaultState)
        with sandbox.isolation.session(CreateIsolatedSessionRequest()) as session:
            assert_type(session.run("ls"), Execution)
        with sandbox.pty.create() as terminal:
            for output in terminal.read():
                assert_type(output, PtyOutput)
    with SandboxManagerSync.create(config) as manager:
        assert_type(manager.list_sandbox_infos().sandbox_infos, list[SandboxInfo])
    try:
        manager.kill_sandbox("id")
    except SandboxApiException as error:
        assert_type(error.status_code, int | None)
    except SandboxException as error:
        assert_type(error.message, str | None)
        assert_type(error.error.code, str)
