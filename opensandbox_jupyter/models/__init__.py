"""The nouns, under the names of OpenSandbox's own SDK. Each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opensandbox_jupyter.models.code import *
    from opensandbox_jupyter.models.diagnostics import *
    from opensandbox_jupyter.models.endpoints import *
    from opensandbox_jupyter.models.execd import *
    from opensandbox_jupyter.models.execution import *
    from opensandbox_jupyter.models.filesystem import *
    from opensandbox_jupyter.models.isolated import *
    from opensandbox_jupyter.models.sandboxes import *
    from opensandbox_jupyter.models.snapshots import *
    from opensandbox_jupyter.models.templates import *
    from opensandbox_jupyter.models.vault import *

_HOMES = {
    "code": ("CodeContext", "SupportedLanguage"),
    "diagnostics": ("DiagnosticContent",),
    "endpoints": ("SandboxEndpoint",),
    "execd": ("CommandLogs", "CommandStatus", "RunCommandOpts"),
    "execution": (
        "Execution", "ExecutionComplete", "ExecutionError", "ExecutionHandlers", "ExecutionInit",
        "ExecutionLogs", "ExecutionResult", "OutputMessage",
    ),
    "filesystem": (
        "Change", "ContentReplaceEntry", "ContentReplaceResult", "DirectoryListEntry",
        "EntryInfo", "MoveEntry", "SearchEntry", "SetPermissionEntry", "WriteEntry",
    ),
    "isolated": (
        "BindMount", "CreateIsolatedSessionRequest", "EnvPassthroughSpec", "HardeningLayerState",
        "HardeningStatus", "IsolatedBackgroundRun", "IsolatedCapabilities", "IsolatedOverlaySpec",
        "IsolatedRunLogs", "IsolatedRunOpts", "IsolatedRunStatus", "IsolatedSessionInfo",
        "IsolatedSessionState", "IsolatedSessionSummary", "IsolatedWorkspaceSpec",
    ),
    "sandboxes": (
        "Host", "LifecycleHook", "NetworkPolicy", "NetworkRule", "OSSFS", "PVC",
        "PagedSandboxInfos", "PaginationInfo", "PeriodicLifecycleHook", "PlatformSpec",
        "SandboxAllocation", "SandboxCreateResponse", "SandboxFilter", "SandboxImageAuth",
        "SandboxImageSpec", "SandboxInfo", "SandboxLifecycle", "SandboxMetrics", "SandboxOrigin",
        "SandboxRenewResponse", "SandboxState", "SandboxStatus", "Volume",
    ),
    "snapshots": (
        "PagedSnapshotInfos", "SnapshotFilter", "SnapshotInfo", "SnapshotState", "SnapshotStatus",
    ),
    "templates": (
        "CreateTemplateRequest", "PagedTemplateInfos", "TemplateFilter", "TemplateInfo",
        "TemplatePhase", "TemplateReadiness", "TemplateStatus",
    ),
    "vault": (
        "Credential", "CredentialAuth", "CredentialAuthMetadata", "CredentialBinding",
        "CredentialBindingListResponse", "CredentialBindingMetadata",
        "CredentialBindingMutationSet", "CredentialListResponse", "CredentialMatch",
        "CredentialMetadata", "CredentialMutationSet", "CredentialProxyConfig",
        "CredentialSubstitution", "CredentialVaultPatchRequest", "CredentialVaultState",
        "CustomHeaderEntry", "InlineCredentialSource",
    ),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605


if not TYPE_CHECKING:  # a checker would believe that every name is here

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__]
