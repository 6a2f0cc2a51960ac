"""Operations on a sandbox's sidecar: its network policy and its credential vault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer
from opensandbox_jupyter.wire.opensandbox._read import OK, as_sent, build, read_model, to_json
from opensandbox_jupyter.wire.protocol.egress import EgressCalls

__all__ = ["Egress"]

_VAULT = "/credential-vault"
_CREATED = (201,)


class Egress(EgressCalls):
    """What a sandbox may reach, and what its requests carry."""

    def sidecar_policy(self, sidecar: Origin) -> Origin:
        """``/policy``."""
        return replace(sidecar, base_url=f"{sidecar.base_url}/policy")

    def central_policy(self, server: Origin, sandbox_id: str) -> Origin:
        """``/sandboxes/{id}/networkpolicy``."""
        at = f"{server.base_url}/sandboxes/{quote(sandbox_id, safe='')}/networkpolicy"
        return replace(server, base_url=at)

    def egress_policy(self, at: Origin) -> Operation[models.NetworkPolicy]:
        """GET."""
        call = Call("get_egress_policy", at, "GET", "")
        answer = decode_json(call, expect(call, (yield call), OK))
        if not isinstance(answer, dict) or "policy" not in answer:
            raise invalid_answer(call, ValueError("there is no policy"))
        return build(call, models.NetworkPolicy, answer["policy"])

    def patch_egress_rules(
        self, at: Origin, rules: Sequence[models.NetworkRule]
    ) -> Operation[None]:
        """PATCH."""
        body = to_json([rule.model_dump(by_alias=True) for rule in rules])
        call = Call("patch_egress_rules", at, "PATCH", "", json=body)
        expect(call, (yield call))

    def delete_egress_rules(self, at: Origin, targets: Sequence[str]) -> Operation[None]:
        """DELETE."""
        body = to_json(list(targets))
        call = Call("delete_egress_rules", at, "DELETE", "", json=body)
        expect(call, (yield call))

    def create_vault(self, sidecar: Origin, body: object) -> Operation[models.CredentialVaultState]:
        """POST /credential-vault; only 201 is success."""
        call = Call("create_credential_vault", sidecar, "POST", _VAULT, json=to_json(as_sent(body)))
        return read_model(call, (yield call), models.CredentialVaultState, _CREATED)

    def get_vault(self, sidecar: Origin) -> Operation[models.CredentialVaultState]:
        """GET /credential-vault."""
        call = Call("get_credential_vault", sidecar, "GET", _VAULT)
        return read_model(call, (yield call), models.CredentialVaultState)

    def patch_vault(self, sidecar: Origin, body: object) -> Operation[models.CredentialVaultState]:
        """PATCH /credential-vault."""
        call = Call("patch_credential_vault", sidecar, "PATCH", _VAULT, json=to_json(as_sent(body)))
        return read_model(call, (yield call), models.CredentialVaultState)

    def delete_vault(self, sidecar: Origin) -> Operation[None]:
        """DELETE /credential-vault."""
        call = Call("delete_credential_vault", sidecar, "DELETE", _VAULT)
        expect(call, (yield call))

    def list_credentials(self, sidecar: Origin) -> Operation[models.CredentialListResponse]:
        """GET /credential-vault/credentials."""
        call = Call("list_credentials", sidecar, "GET", f"{_VAULT}/credentials")
        return read_model(call, (yield call), models.CredentialListResponse)

    def get_credential(self, sidecar: Origin, name: str) -> Operation[models.CredentialMetadata]:
        """GET /credential-vault/credentials/{name}."""
        path = f"{_VAULT}/credentials/{quote(name, safe='')}"
        call = Call("get_credential", sidecar, "GET", path)
        return read_model(call, (yield call), models.CredentialMetadata)

    def list_bindings(self, sidecar: Origin) -> Operation[models.CredentialBindingListResponse]:
        """GET /credential-vault/bindings."""
        call = Call("list_bindings", sidecar, "GET", f"{_VAULT}/bindings")
        return read_model(call, (yield call), models.CredentialBindingListResponse)

    def get_binding(
        self, sidecar: Origin, name: str
    ) -> Operation[models.CredentialBindingMetadata]:
        """GET /credential-vault/bindings/{name}."""
        path = f"{_VAULT}/bindings/{quote(name, safe='')}"
        call = Call("get_binding", sidecar, "GET", path)
        return read_model(call, (yield call), models.CredentialBindingMetadata)
