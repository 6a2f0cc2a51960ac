"""The vendor's own SDK at a sandbox's credential vault. Prints ``done``."""

from datetime import timedelta

from opensandbox import SandboxSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.sandboxes import (
    Credential,
    CredentialAuth,
    CredentialBinding,
    CredentialMatch,
    CredentialProxyConfig,
    InlineCredentialSource,
    NetworkPolicy,
    NetworkRule,
)

KEY = Credential(name="key", source=InlineCredentialSource(value="s3cret"))
BINDING = CredentialBinding(
    name="api",
    match=CredentialMatch(hosts=["api.example.com"]),
    auth=CredentialAuth(type="bearer", credential="key"),
)

sandbox = SandboxSync.create(
    "python:3",
    timeout=timedelta(minutes=5),
    network_policy=NetworkPolicy(egress=[NetworkRule(action="allow", target="api.example.com")]),
    credential_proxy=CredentialProxyConfig(enabled=True),
)
vault = sandbox.credential_vault
state = vault.create(credentials=[KEY], bindings=[BINDING])
assert (state.revision, [one.name for one in state.credentials]) == (1, ["key"])
assert vault.get().bindings[0].match.hosts == ["api.example.com"]
assert vault.get_binding("api").auth.type == "bearer"
assert [one.source_type for one in vault.list_credentials()] == ["inline"]
new = Credential(name="key", source=InlineCredentialSource(value="other"))
assert vault.patch(expected_revision=1, credentials={"replace": [new]}).revision == 2
try:
    vault.patch(expected_revision=1, bindings={"delete": ["api"]})
except SandboxApiException as error:
    assert error.status_code == 409
else:
    raise AssertionError("an old revision was taken")
assert "s3cret" not in str(vault.get())
vault.delete()
try:
    vault.get()
except SandboxApiException as error:
    assert error.status_code == 404
else:
    raise AssertionError("the vault is still there")
sandbox.kill()
sandbox.close()
print("done")
