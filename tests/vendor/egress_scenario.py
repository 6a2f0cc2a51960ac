"""The vendor's own SDK, unmodified, with a network policy; run in its own virtual environment.

The only argument is the port of an HTTP server on 127.0.0.1. Prints ``done`` at the end, and fails
with a traceback at the first thing that is not as it should be.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from opensandbox import Sandbox
from opensandbox.models.sandboxes import NetworkPolicy, NetworkRule


async def status(sandbox: Sandbox, place: str) -> str | None:
    """Return the status with which ``place`` answers inside, by way of the proxy."""
    fetch = "curl -s -o /dev/null -w '%{http_code}' --noproxy '' -x http://127.0.0.1:3128"
    return (await sandbox.commands.run(f"{fetch} http://{place}/")).text


async def main(place: str) -> None:
    """Create with a rule, then deny, allow again and take rules away while it runs."""
    sandbox = await Sandbox.create(
        "python:3",
        timeout=timedelta(minutes=5),
        network_policy=NetworkPolicy(
            default_action="deny", egress=[NetworkRule(action="allow", target=place)]
        ),
    )
    async with sandbox:
        policy = await sandbox.get_egress_policy()
        assert policy.default_action == "deny"
        assert [(rule.action, rule.target) for rule in policy.egress] == [("allow", place)]
        assert await status(sandbox, place) == "200"
        assert await status(sandbox, "a.test") == "403"

        await sandbox.patch_egress_rules([NetworkRule(action="deny", target=place)])
        assert await status(sandbox, place) == "403"
        await sandbox.patch_egress_rules([NetworkRule(action="allow", target=place)])
        assert await status(sandbox, place) == "200"

        await sandbox.delete_egress_rules([place])
        assert not (await sandbox.get_egress_policy()).egress
        assert await status(sandbox, place) in {"403", "000"}
        await sandbox.kill()
    print("done")


if __name__ == "__main__":
    asyncio.run(main(f"127.0.0.1:{sys.argv[1]}"))
