"""What is asked about what a sandbox may reach, and with which credentials."""

from __future__ import annotations

from collections.abc import Sequence

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["EgressCalls"]


class EgressCalls(Refusal):
    """Network policies and credential vaults, at a sandbox's ``sidecar``."""

    def sidecar_policy(self, sidecar: Origin) -> Origin:
        """Return where a sidecar keeps the network policy."""
        self._lacks("network policies")

    def central_policy(self, server: Origin, sandbox_id: str) -> Origin:
        """Return where the server keeps the network policy of a sandbox without a sidecar."""
        self._lacks("network policies")

    def egress_policy(self, at: Origin) -> Operation[models.NetworkPolicy]:
        """Ask what may be reached."""
        self._lacks("network policies")

    def patch_egress_rules(
        self, at: Origin, rules: Sequence[models.NetworkRule]
    ) -> Operation[None]:
        """Put rules first."""
        self._lacks("network policies")

    def delete_egress_rules(self, at: Origin, targets: Sequence[str]) -> Operation[None]:
        """Remove the rules of targets."""
        self._lacks("network policies")

    def create_vault(self, sidecar: Origin, body: object) -> Operation[models.CredentialVaultState]:
        """Fill a vault."""
        self._lacks("credential vaults")

    def get_vault(self, sidecar: Origin) -> Operation[models.CredentialVaultState]:
        """Ask what is in a vault."""
        self._lacks("credential vaults")

    def patch_vault(self, sidecar: Origin, body: object) -> Operation[models.CredentialVaultState]:
        """Change a vault."""
        self._lacks("credential vaults")

    def delete_vault(self, sidecar: Origin) -> Operation[None]:
        """Empty a vault."""
        self._lacks("credential vaults")

    def list_credentials(self, sidecar: Origin) -> Operation[models.CredentialListResponse]:
        """List credentials."""
        self._lacks("credential vaults")

    def get_credential(self, sidecar: Origin, name: str) -> Operation[models.CredentialMetadata]:
        """Look at a credential."""
        self._lacks("credential vaults")

    def list_bindings(self, sidecar: Origin) -> Operation[models.CredentialBindingListResponse]:
        """List bindings."""
        self._lacks("credential vaults")

    def get_binding(
        self, sidecar: Origin, name: str
    ) -> Operation[models.CredentialBindingMetadata]:
        """Look at a binding."""
        self._lacks("credential vaults")
