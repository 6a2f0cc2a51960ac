"""Nouns of the credential vault. Names are those of OpenSandbox's own SDK."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from opensandbox_jupyter.models._base import CamelModel, LifecycleModel, LifecycleRequest, OrNewer
from opensandbox_jupyter.models.sandboxes import Text
from opensandbox_jupyter.secrecy import Unpicklable

__all__: list[str] = [
    "Credential",
    "CredentialAuth",
    "CredentialAuthMetadata",
    "CredentialBinding",
    "CredentialBindingListResponse",
    "CredentialBindingMetadata",
    "CredentialBindingMutationSet",
    "CredentialListResponse",
    "CredentialMatch",
    "CredentialMetadata",
    "CredentialMutationSet",
    "CredentialProxyConfig",
    "CredentialSubstitution",
    "CredentialVaultPatchRequest",
    "CredentialVaultState",
    "CustomHeaderEntry",
    "InlineCredentialSource",
]


class CredentialProxyConfig(LifecycleRequest):
    """Whether a sandbox's proxy may put credentials into requests. Needs a network policy."""

    enabled: bool = False


class InlineCredentialSource(Unpicklable, LifecycleRequest):
    """A secret itself. It is sent once, and never comes back."""

    value: str = Field(repr=False)
    type: Literal["inline"] = "inline"


class Credential(LifecycleRequest):
    """A secret and its name."""

    name: Text
    source: InlineCredentialSource


class CredentialMatch(LifecycleRequest):
    """Which requests are meant. ``hosts`` are names or ``*.example.com``; ``paths`` are globs."""

    hosts: Annotated[list[Text], Field(min_length=1)]
    schemes: list[Annotated[Literal["https", "http"], OrNewer]] | None = None
    ports: list[int] | None = None
    methods: list[str] | None = None
    paths: list[str] | None = None


class CustomHeaderEntry(LifecycleRequest):
    """A header, and the credential that is its value."""

    name: Text
    credential: Text


class CredentialSubstitution(LifecycleRequest):
    """A text that stands for a credential in the ``in_`` parts of a request."""

    credential: Text
    placeholder: Text
    in_: list[Literal["path", "query", "header", "body"]] = Field(alias="in")


class CredentialAuth(LifecycleRequest):
    """How credentials are put into a request."""

    type: Literal["bearer", "basic", "apiKey", "customHeaders", "passthrough"]
    credential: str | None = None
    name: str | None = None
    headers: list[CustomHeaderEntry] | None = None
    substitutions: list[CredentialSubstitution] | None = None


class CredentialBinding(LifecycleRequest):
    """Credentials for some requests."""

    name: Text
    match: CredentialMatch
    auth: CredentialAuth


class CredentialMetadata(CamelModel):
    """What may be told of a credential."""

    name: str
    source_type: str
    revision: int


class CredentialAuthMetadata(LifecycleModel):
    """What may be told of how a credential is used."""

    type: str
    name: str | None = None


class CredentialBindingMetadata(LifecycleModel):
    """What may be told of a binding."""

    name: str
    revision: int
    match: CredentialMatch | None = None
    auth: CredentialAuthMetadata | None = None


class CredentialVaultState(LifecycleModel):
    """What may be told of a vault. ``revision`` grows with every change."""

    revision: int
    credentials: list[CredentialMetadata]
    bindings: list[CredentialBindingMetadata]


class CredentialListResponse(LifecycleModel):
    """What may be told of all credentials."""

    revision: int
    credentials: list[CredentialMetadata]


class CredentialBindingListResponse(LifecycleModel):
    """What may be told of all bindings."""

    revision: int
    bindings: list[CredentialBindingMetadata]


class CredentialMutationSet(LifecycleRequest):
    """Changes of credentials, by name."""

    add: list[Credential] | None = None
    replace: list[Credential] | None = None
    delete: list[str] | None = None


class CredentialBindingMutationSet(LifecycleRequest):
    """Changes of bindings, by name."""

    add: list[CredentialBinding] | None = None
    replace: list[CredentialBinding] | None = None
    delete: list[str] | None = None


class CredentialVaultPatchRequest(LifecycleRequest):
    """Changes of a vault, all or nothing; only at ``expected_revision``, if that is given."""

    expected_revision: int | None = None
    credentials: CredentialMutationSet | dict[str, Any] | None = None
    bindings: CredentialBindingMutationSet | dict[str, Any] | None = None
