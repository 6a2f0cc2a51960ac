"""What a sandbox may reach, and the credentials that its requests carry."""

from __future__ import annotations

from typing import Any

from scenarios import sdk

models = sdk.sandboxes
KEY = models.Credential(name="key", source=models.InlineCredentialSource(value="s3cret"))
BINDING = models.CredentialBinding(
    name="api",
    match=models.CredentialMatch(hosts=["api.example.com"]),
    auth=models.CredentialAuth(type="bearer", credential="key"),
)


def _rule(action: str, target: str) -> Any:
    return models.NetworkRule(action=action, target=target)


async def _walled(*allowed: str, **options: Any) -> Any:
    rules = [_rule("allow", target) for target in allowed]
    policy = models.NetworkPolicy(default_action="deny", egress=rules)
    try:
        return await sdk.create(network_policy=policy, **options)
    except sdk.ApiError as error:
        if error.status_code == 400:
            raise sdk.NotThere(f"network policies: {error}") from error
        raise


async def has_a_policy_that_changes() -> None:
    sandbox = await _walled("a.test")
    policy = await sandbox.get_egress_policy()
    assert policy.default_action == "deny"
    assert [(rule.action, rule.target) for rule in policy.egress] == [("allow", "a.test")]
    await sandbox.patch_egress_rules([_rule("deny", "a.test"), _rule("allow", "*.b.test")])
    rules = (await sandbox.get_egress_policy()).egress
    assert {(rule.action, rule.target) for rule in rules} == {
        ("deny", "a.test"), ("allow", "*.b.test"),
    }  # fmt: skip
    await sandbox.delete_egress_rules(["a.test", "*.b.test"])
    assert not (await sandbox.get_egress_policy()).egress
    await sandbox.destroy()


async def reaches_what_the_policy_allows() -> None:
    if sdk.PLACE is None:
        raise sdk.NotThere("no place to reach was named")
    sandbox = await _walled(sdk.PLACE)

    async def status(place: str) -> str:
        fetch = "curl -s -o /dev/null -w '%{http_code}' --noproxy '' -x ${HTTP_PROXY:-http://127.0.0.1:3128}"
        return (await sandbox.commands.run(f"{fetch} http://{place}/")).text

    assert await status(sdk.PLACE) == "200"
    assert await status("a.test") == "403"
    await sandbox.patch_egress_rules([_rule("deny", sdk.PLACE)])
    assert await status(sdk.PLACE) == "403"
    await sandbox.patch_egress_rules([_rule("allow", sdk.PLACE)])
    assert await status(sdk.PLACE) == "200"
    await sandbox.destroy()


async def keeps_credentials_in_a_vault() -> None:
    proxy = models.CredentialProxyConfig(enabled=True)
    sandbox = await _walled("api.example.com", credential_proxy=proxy)
    vault = sandbox.credential_vault
    state = await sdk.there(vault.create(credentials=[KEY], bindings=[BINDING]))
    assert (state.revision, [one.name for one in state.credentials]) == (1, ["key"])
    assert (await vault.get()).bindings[0].match.hosts == ["api.example.com"]
    assert (await vault.get_binding("api")).auth.type == "bearer"
    assert (await vault.get_credential("key")).name == "key"
    assert [one.name for one in await vault.list_bindings()] == ["api"]
    assert [one.source_type for one in await vault.list_credentials()] == ["inline"]
    new = models.Credential(name="key", source=models.InlineCredentialSource(value="other"))
    changed = await vault.patch(expected_revision=1, credentials={"replace": [new]})
    assert changed.revision == 2
    await sdk.refused(vault.patch(expected_revision=1, bindings={"delete": ["api"]}), 409)
    assert "s3cret" not in str(await vault.get())
    await vault.delete()
    await sdk.refused(vault.get(), 404)
    await sandbox.destroy()
