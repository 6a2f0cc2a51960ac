"""What a sandbox may reach, and the credentials that its requests carry.

Generated from ``network.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from opensandbox_jupyter.constants import DEFAULT_EGRESS_PORT
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.sync.connection import ConnectionSync, checked_id
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.readiness import Patience

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import NetworkPolicy, NetworkRule
    from opensandbox_jupyter.models.vault import (
        Credential,
        CredentialBinding,
        CredentialBindingMetadata,
        CredentialBindingMutationSet,
        CredentialMetadata,
        CredentialMutationSet,
        CredentialVaultState,
    )

__all__ = ["CredentialVaultSync", "EgressSync"]

TEMPLATE = "template"
_PATIENCE = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)
T = TypeVar("T")


class EgressSync:
    """A sandbox's network policy. Its endpoint is looked up once.

    Specified by the OpenSandbox egress API; a sandbox of a template has no sidecar, and its policy
    is the lifecycle server's to keep.
    """

    def __init__(
        self, connection: ConnectionSync, sandbox_id: str, origin: str | None = None
    ) -> None:
        self._connection = connection
        self._id = sandbox_id
        self._is_central = origin == TEMPLATE

    def get_policy(self) -> NetworkPolicy:
        """Return what may be reached now."""
        protocol = self._connection.protocol
        return self._run(protocol.egress_policy(self._policy()))

    def patch_rules(self, rules: Sequence[NetworkRule]) -> None:
        """Put ``rules`` before the others; of two for one target, the first one holds."""
        if not rules:
            raise InvalidArgumentException("Give at least one rule.")
        protocol = self._connection.protocol
        self._run(protocol.patch_egress_rules(self._policy(), rules))

    def delete_rules(self, targets: Sequence[str]) -> None:
        """Remove the rules of ``targets``; one that has none is no error."""
        if not targets or isinstance(targets, str):
            raise InvalidArgumentException("Give a list of at least one target.")
        protocol = self._connection.protocol
        self._run(protocol.delete_egress_rules(self._policy(), targets))

    def _policy(self) -> Origin:
        protocol = self._connection.protocol
        if self._is_central:
            return protocol.central_policy(self._connection.server, self._id)
        return protocol.sidecar_policy(self._sidecar())

    def _sidecar(self) -> Origin:
        patience = Patience(_PATIENCE, _INTERVAL)
        look_up = self._connection.endpoints.find(self._id, DEFAULT_EGRESS_PORT, patience)
        return self._connection.origin_of(self._run(look_up))

    def _run(self, operation: Operation[T]) -> T:
        return self._connection.transport.run(operation)


class CredentialVaultSync(EgressSync):
    """The credentials that a sandbox's proxy puts into its requests.

    The sandbox must have been created with ``credential_proxy`` and a network policy. Values are
    sent once and never come back. Every method raises ``SandboxApiException``: 404 where there is
    no vault, 409 for what goes against it.
    """

    def create(
        self, *, credentials: Sequence[Credential], bindings: Sequence[CredentialBinding]
    ) -> CredentialVaultState:
        """Fill the vault, and return what may be told of it."""
        body = {"credentials": list(credentials), "bindings": list(bindings)}
        protocol = self._connection.protocol
        return self._run(protocol.create_vault(self._sidecar(), body))

    def get(self) -> CredentialVaultState:
        """Return what may be told of the vault."""
        return self._run(self._connection.protocol.get_vault(self._sidecar()))

    def patch(
        self,
        *,
        expected_revision: int | None = None,
        credentials: CredentialMutationSet | dict[str, Any] | None = None,
        bindings: CredentialBindingMutationSet | dict[str, Any] | None = None,
    ) -> CredentialVaultState:
        """Change the vault, all or nothing.

        Args:
            expected_revision: refuse with 409 when the vault has another one by now.
            credentials: what to add, replace and delete.
            bindings: the same of bindings.
        """
        wanted = {
            "expectedRevision": expected_revision,
            "credentials": credentials,
            "bindings": bindings,
        }
        body = {key: value for key, value in wanted.items() if value is not None}
        protocol = self._connection.protocol
        return self._run(protocol.patch_vault(self._sidecar(), body))

    def delete(self) -> None:
        """Forget all of it."""
        self._run(self._connection.protocol.delete_vault(self._sidecar()))

    def list_credentials(self) -> list[CredentialMetadata]:
        """Return what may be told of the credentials."""
        protocol = self._connection.protocol
        found = self._run(protocol.list_credentials(self._sidecar()))
        return found.credentials

    def get_credential(self, name: str) -> CredentialMetadata:
        """Return what may be told of one credential."""
        protocol, wanted = self._connection.protocol, checked_id(name, "credential's name")
        return self._run(protocol.get_credential(self._sidecar(), wanted))

    def list_bindings(self) -> list[CredentialBindingMetadata]:
        """Return the bindings."""
        protocol = self._connection.protocol
        found = self._run(protocol.list_bindings(self._sidecar()))
        return found.bindings

    def get_binding(self, name: str) -> CredentialBindingMetadata:
        """Return one binding."""
        protocol, wanted = self._connection.protocol, checked_id(name, "binding's name")
        return self._run(protocol.get_binding(self._sidecar(), wanted))
