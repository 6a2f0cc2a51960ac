"""The nouns, under the names of OpenSandbox's own SDK. Each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "diagnostics": ("DiagnosticContent",),
    "execd": ("CommandLogs", "CommandStatus"),
    "execution": (
        "Execution", "ExecutionComplete", "ExecutionError", "ExecutionInit", "ExecutionLogs",
        "ExecutionResult", "OutputMessage",
    ),
    "filesystem": (
        "ContentReplaceEntry", "ContentReplaceResult", "DirectoryListEntry", "EntryInfo",
        "MoveEntry", "SearchEntry", "SetPermissionEntry", "WriteEntry",
    ),
    "isolated": (
        "BindMount", "CreateIsolatedSessionRequest", "EnvPassthroughSpec", "IsolatedCapabilities",
        "IsolatedOverlaySpec", "IsolatedRunOpts", "IsolatedSessionInfo", "IsolatedSessionState",
        "IsolatedSessionSummary", "IsolatedWorkspaceSpec",
    ),
    "sandboxes": (
        "Host", "LifecycleHook", "NetworkPolicy", "NetworkRule", "PVC", "PagedSandboxInfos",
        "PaginationInfo", "PeriodicLifecycleHook", "PlatformSpec", "SandboxAllocation",
        "SandboxCreateResponse", "SandboxEndpoint", "SandboxFilter", "SandboxImageAuth",
        "SandboxImageSpec", "SandboxInfo", "SandboxLifecycle", "SandboxMetrics", "SandboxState",
        "SandboxStatus", "Volume",
    ),
    "vault": (
        "Credential", "CredentialAuth", "CredentialBinding", "CredentialBindingListResponse",
        "CredentialBindingMetadata", "CredentialBindingMutationSet", "CredentialListResponse",
        "CredentialMatch", "CredentialMetadata", "CredentialMutationSet", "CredentialProxyConfig",
        "CredentialSubstitution", "CredentialVaultPatchRequest", "CredentialVaultState",
        "CustomHeaderEntry", "InlineCredentialSource",
    ),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
