"""A user's mistakes, which type checkers find: each line that is marked, and no other."""

from __future__ import annotations

from datetime import timedelta

from opensandbox_jupyter import Sandbox, SandboxPool, SandboxSync
from opensandbox_jupyter import Sanbox  # wrong
from opensandbox_jupyter.models import Executions  # wrong
from opensandbox_jupyter.models.execd import OutputMessage, RunCommandOpts
from opensandbox_jupyter.models.sandboxes import CredentialVaultStates  # wrong
from opensandbox_jupyter.models.sandboxes import NetworkRule, SandboxFilter


def takes_bytes(message: bytes) -> None:
    print(message)


async def asynchronous(sandbox: Sandbox) -> None:
    sandbox.commands.run("ls").stdout  # wrong
    (await sandbox.commands.run("ls")).exit_kode  # wrong
    await sandbox.commands.run(7)  # wrong
    await sandbox.commands.run("ls", timeout="soon")  # wrong
    await sandbox.commands.run("ls", on_stdout=takes_bytes)  # wrong
    await sandbox.files.write_file("/a", 5)  # wrong
    await sandbox.files.reed_file("/a")  # wrong
    await sandbox.renew("5")  # wrong
    await Sandbox.create("python:3", timeout="600")  # wrong
    await Sandbox.create("python:3", lifetime=timedelta(1))  # wrong
    for _ in sandbox.commands.stream("ls"):  # wrong
        pass
    RunCommandOpts(timeout=5)  # wrong
    RunCommandOpts(cwd="/")  # wrong
    NetworkRule(action="allow")  # wrong
    SandboxFilter(states="Running")  # wrong


def blocking(sandbox: SandboxSync) -> None:
    await_me: OutputMessage = sandbox.commands.run("ls")  # wrong
    print(await_me)
    sandbox.get_info().status.stat  # wrong
    number: int = sandbox.files.read_file("/a")  # wrong
    print(number)
    with Sandbox.create("python:3"):  # wrong
        pass


def pools(pool: SandboxPool) -> None:
    pool.acquire(policy="FAIL_FAST")  # wrong
    for_async: Sandbox = pool.acquire()  # wrong
    print(for_async)
