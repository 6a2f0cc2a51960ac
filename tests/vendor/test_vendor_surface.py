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
    "opensandbox:transport.retry": "`transport` has these names",
    "code_interpreter:code_interpreter": "the package itself has these names",
    "code_interpreter:models": "the package itself has these names",
    "code_interpreter:sync": "the package itself has these names",
    "opensandbox:models.SandboxEndpoint.build_request_headers": "the connection's work",
    "opensandbox:models.sandboxes.CreateSnapshotRequest": "`create_snapshot(name)` says it",
    "opensandbox:models.sandboxes.SandboxEndpoint.build_request_headers": "the connection's work",
}
"""What differs, and why."""

NOT_YET: dict[str, str] = {}
"""What is still to come: an entry that nothing needs any more fails the test."""


SERVICES = {
    "services.command.Commands": ("commands", "Commands"),
    "services.diagnostics.Diagnostics": ("diagnostics", "Diagnostics"),
    "services.egress.CredentialVault": ("network", "CredentialVault"),
    "services.egress.Egress": ("network", "CredentialVault"),
    "services.filesystem.Filesystem": ("files", "Files"),
    "services.isolated.IsolationService": ("isolation", "IsolationService"),
    "services.isolated.IsolationSession": ("isolation", "IsolationSession"),
    "services.metrics.Metrics": ("metrics", "Metrics"),
    "services.code.Codes": ("codes", "Codes"),
    "sync.services.command.CommandsSync": ("sync.commands", "CommandsSync"),
    "sync.services.filesystem.FilesystemSync": ("sync.files", "FilesSync"),
    "sync.services.isolated.IsolationServiceSync": ("sync.isolation", "IsolationServiceSync"),
    "sync.services.metrics.MetricsSync": ("sync.metrics", "MetricsSync"),
}
"""The vendor's protocols, and our classes that do what they promise."""

OTHERWISE = {
    "config.ConnectionConfig": "a field that was not given is looked up elsewhere first",
    "transport.RetryPolicy.retryable_status_codes_idempotent": "the same numbers, as numbers",
    "models.SandboxInfo.": "no labels and no extensions are an empty dict, and never None",
    "models.sandboxes.SandboxInfo.": "the same",
}
"""What is not the same, and why."""


def surface(python: str | Path, *packages: str) -> dict[str, dict[str, dict]]:
    command = [python, HERE / "surface.py", *packages]
    env = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
    return json.loads(subprocess.run(command, capture_output=True, check=True, env=env).stdout)


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[str, dict]]:
    """The vendor's names, by package, module and name."""
    assert VENDOR.exists(), "the vendor's SDK is not installed: run make vendor"
    return surface(VENDOR, *PACKAGES)


@pytest.fixture(scope="module")
def ours() -> dict[str, dict]:
    """Our names, by module and name."""
    return surface(sys.executable, "opensandbox_jupyter")["opensandbox_jupyter"]


@pytest.fixture(scope="module")
def missing(theirs: dict[str, dict[str, dict]], ours: dict[str, dict]) -> list[str]:
    """Every name of the vendor's that is not ours, as ``package:module.name.member``."""
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
                    known = {bare(one) for one in ours[name][member]}
                    yield from (
                        f"{at}.{member}({bare(one)})" for one in told if bare(one) not in known
                    )


def bare(parameter: str) -> str:
    """Return the name of a parameter."""
    return parameter.lstrip("*").partition("=")[0]


@pytest.fixture(scope="module")
def changed(theirs: dict[str, dict[str, dict]], ours: dict[str, dict]) -> list[str]:
    """Every signature and field that a program of the vendor's could notice to be another."""
    found = []
    for package, modules in theirs.items():
        for module, names in modules.items():
            there = ours.get(".".join(filter(None, (PACKAGES[package], module))), {})
            for name, members in names.items():
                home = SERVICES.get(f"{module}.{name}")
                mine = ours[home[0]][home[1]] if home else there.get(name)
                at = f"{module}.{name}".lstrip(".")
                if isinstance(members, dict) and isinstance(mine, dict):
                    for member in members.keys() & mine.keys():
                        told, kept = members[member], mine[member]
                        found += [f"{at}.{member}{one}" for one in differing(told, kept)]
    return sorted(found)


def differing(told: object, kept: object) -> Iterator[str]:
    """Give what a caller would notice. A default where there was none, it would not."""
    if isinstance(told, str) and isinstance(kept, str):
        if told not in (kept, "field") and "Execution" not in told:
            yield f": {told} -> {kept}"
    elif isinstance(told, list) and isinstance(kept, list):
        mine = {bare(one): one for one in kept}
        for one in told:
            same = mine.get(bare(one), one)
            if same != one and not same.startswith(f"{one}="):
                yield f"({bare(one)}): {one} -> {same}"
        positional = [bare(one) for one in told if not one.startswith("*")]
        if positional != [bare(one) for one in kept][: len(positional)]:
            yield f": {positional} are in another order"


def listed(name: str) -> bool:
    return any(name.startswith(one) for one in (*ON_PURPOSE, *NOT_YET))


def test_every_name_is_ours_too_or_listed_with_its_reason(missing: list[str]) -> None:
    assert [name for name in missing if not listed(name)] == []


@pytest.mark.parametrize("entry", [*ON_PURPOSE, *NOT_YET])
def test_no_reason_outlives_its_difference(missing: list[str], entry: str) -> None:
    assert any(name.startswith(entry) for name in missing), "take it off the list"


def test_every_signature_is_the_same_or_listed_with_its_reason(changed: list[str]) -> None:
    assert [one for one in changed if not any(one.startswith(o) for o in OTHERWISE)] == []
    assert [o for o in OTHERWISE if not any(one.startswith(o) for one in changed)] == []


def test_every_protocol_of_theirs_has_a_class_of_ours(
    theirs: dict[str, dict[str, dict]], ours: dict[str, dict]
) -> None:
    known = {
        f"{m}.{n}": v
        for modules in theirs.values()
        for m, ns in modules.items()
        for n, v in ns.items()
    }
    for protocol, (module, name) in SERVICES.items():
        lacks = known[protocol].keys() - ours[module][name].keys()
        assert not lacks, f"{module}.{name} lacks {lacks}"
