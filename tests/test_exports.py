"""The public surface: what is promised is there, documented, and the same in both colours."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import opensandbox_jupyter
from opensandbox_jupyter import (
    Sandbox,
    SandboxManager,
    SandboxManagerSync,
    SandboxSync,
)
from opensandbox_jupyter.commands import Commands
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.metrics import Metrics
from opensandbox_jupyter.pool import (
    AsyncPoolConfig,
    AsyncPoolStateStore,
    InMemoryAsyncPoolStateStore,
    InMemoryPoolStateStore,
    PoolConfig,
    PoolStateStore,
    SandboxPoolAsync,
    SandboxPoolManagerAsync,
    SandboxPoolManagerSync,
    SandboxPoolSync,
)
from opensandbox_jupyter.pool_redis import AsyncRedisPoolStateStore, RedisPoolStateStore
from opensandbox_jupyter.pty import Pty, PtySession
from opensandbox_jupyter.sync.commands import CommandsSync
from opensandbox_jupyter.sync.files import FilesSync
from opensandbox_jupyter.sync.metrics import MetricsSync
from opensandbox_jupyter.sync.pty import PtySessionSync, PtySync

SEED = {
    Sandbox: "create connect resume get_info get_endpoint get_metrics renew pause kill close "
    "is_healthy files commands metrics",
    SandboxManager: "create list_sandbox_infos get_sandbox_info kill_sandbox renew_sandbox "
    "pause_sandbox resume_sandbox close",
    Commands: "run interrupt get_command_status get_background_command_logs",
    Files: "read_file read_bytes read_bytes_stream write_files write_file create_directories "
    "delete_files delete_directories move_files set_permissions replace_contents search "
    "get_file_info list_directory replace_contents_detailed",
}
TWINS = [
    (Sandbox, SandboxSync),
    (SandboxManager, SandboxManagerSync),
    (Commands, CommandsSync),
    (Pty, PtySync),
    (PtySession, PtySessionSync),
    (Files, FilesSync),
    (Metrics, MetricsSync),
    (SandboxPoolAsync, SandboxPoolSync),
    (SandboxPoolManagerAsync, SandboxPoolManagerSync),
    (AsyncPoolConfig, PoolConfig),
    (AsyncPoolStateStore, PoolStateStore),
    (InMemoryAsyncPoolStateStore, InMemoryPoolStateStore),
    (AsyncRedisPoolStateStore, RedisPoolStateStore),
]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(opensandbox_jupyter.__path__, "opensandbox_jupyter.")
    if not any(part.startswith("_") for part in module.name.split("."))
]


@pytest.mark.parametrize("owner", SEED, ids=lambda o: o.__name__)
def test_every_name_of_the_seed_is_there(owner: type) -> None:
    assert [name for name in SEED[owner].split() if not hasattr(owner, name)] == []


def test_the_root_lists_what_it_gives() -> None:
    for name in opensandbox_jupyter.__all__:
        assert getattr(opensandbox_jupyter, name) is not None
    assert dir(opensandbox_jupyter) == sorted(opensandbox_jupyter.__all__)
    with pytest.raises(AttributeError):
        _ = opensandbox_jupyter.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize(("source", "twin"), TWINS, ids=lambda o: o.__name__)
def test_the_blocking_twin_has_the_same_methods_and_parameters(source: type, twin: type) -> None:
    def shape(owner: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters) if callable(member) else []
            for name, member in inspect.getmembers(owner)
            if not name.startswith("_")
        }

    assert shape(twin) == shape(source)
    assert not any(inspect.iscoroutinefunction(m) for _, m in inspect.getmembers(twin))


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_listed_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{name}.{public} has no docstring"
