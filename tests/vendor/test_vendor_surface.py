"""Our names beside the vendor's, one by one: a program moves over by changing its imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VENDOR = HERE.parent.parent / ".venvs" / "vendor" / "bin" / "python"
PACKAGES = {"opensandbox": "", "code_interpreter": "code_interpreter"}

ON_PURPOSE = {
    "opensandbox:services": "protocols of the vendor's adapters; ours are plain classes",
    "opensandbox:sync.services": "the same",
    "code_interpreter:services": "the same",
    "code_interpreter:sync.services": "the same",
    "opensandbox:config.client_ip": "we tell no server the client's address",
    "opensandbox:config.connection": "`config` has these names",
    "opensandbox:config.connection_sync": "`config` has these names",
    "opensandbox:exceptions.sandbox": "`exceptions` has these names",
    "code_interpreter:code_interpreter": "the package itself has these names",
    "code_interpreter:models": "the package itself has these names",
    "code_interpreter:sync": "the package itself has these names",
    "opensandbox:models.SandboxEndpoint.build_request_headers": "the connection's work",
    "opensandbox:models.sandboxes.CreateSnapshotRequest": "`create_snapshot(name)` says it",
    "opensandbox:models.sandboxes.SandboxEndpoint.build_request_headers": "the connection's work",
}
"""What differs, and why."""

NOT_YET = {
    "opensandbox:pool": "pools of warm sandboxes",
    "opensandbox:async_redis_pool_store": "pools of warm sandboxes",
    "opensandbox:redis_pool_store": "pools of warm sandboxes",
    "opensandbox:sync.pool": "pools of warm sandboxes",
    "opensandbox:sync.SandboxPool": "pools of warm sandboxes",
    "opensandbox:exceptions.Pool": "pools of warm sandboxes",
    "opensandbox:exceptions.SandboxError.POOL": "pools of warm sandboxes",
    "opensandbox:transport": "the retry policy",
    "opensandbox:config.ConnectionConfig": "retries, hooks, redirects, tracing, endpoint cache",
    "opensandbox:exceptions": "is_retryable",
}
"""What is still to come: an entry that nothing needs any more fails the test."""
POOLS = ("Pool", "AcquirePolicy", "InMemory", "AsyncPool", "AsyncSandboxPool", "SandboxPool")


def surface(python: str | Path, *packages: str) -> dict[str, dict[str, dict]]:
    command = [python, HERE / "surface.py", *packages]
    env = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
    return json.loads(subprocess.run(command, capture_output=True, check=True, env=env).stdout)


@pytest.fixture(scope="module")
def missing() -> list[str]:
    """Every name of the vendor's that is not ours, as ``package:module.name.member``."""
    assert VENDOR.exists(), "the vendor's SDK is not installed: run make vendor"
    theirs = surface(VENDOR, *PACKAGES)
    ours = surface(sys.executable, "opensandbox_jupyter")["opensandbox_jupyter"]
    return [
        f"{package}:{name}"
        for package, modules in theirs.items()
        for module, names in modules.items()
        for name in lacking(
            module, names, ours.get(".".join(filter(None, (PACKAGES[package], module))))
        )
    ]


def lacking(module: str, theirs: dict, ours: dict | None) -> Iterator[str]:
    if ours is None:
        yield module
        return
    for name, members in theirs.items():
        at = f"{module}.{name}".lstrip(".")
        if name not in ours:
            yield at
        elif isinstance(members, dict) and isinstance(ours[name], dict):
            for member, told in members.items():
                if member not in ours[name]:
                    yield f"{at}.{member}"
                elif isinstance(told, list) and isinstance(ours[name][member], list):
                    known = {one.rstrip("=") for one in ours[name][member]}
                    yield from (
                        f"{at}.{member}({one})" for one in told if one.rstrip("=") not in known
                    )


def listed(name: str) -> bool:
    top = name.partition(":")[2].split(".")[0]
    return top.startswith(POOLS) or any(name.startswith(one) for one in (*ON_PURPOSE, *NOT_YET))


def test_every_name_is_ours_too_or_listed_with_its_reason(missing: list[str]) -> None:
    assert [name for name in missing if not listed(name)] == []


@pytest.mark.parametrize("entry", [*ON_PURPOSE, *NOT_YET])
def test_no_reason_outlives_its_difference(missing: list[str], entry: str) -> None:
    assert any(name.startswith(entry) for name in missing), "take it off the list"
