"""What was found against the original's own daemon of June 2026, fed by hand."""

from __future__ import annotations

import shlex

import pytest
from driving import SANDBOX, SERVER, drive, ok

from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.transport._sockets import options
from opensandbox_jupyter.wire.base import Call
from opensandbox_jupyter.wire.execution import ExecutionReader
from opensandbox_jupyter.wire.opensandbox import OpenSandbox
from opensandbox_jupyter.wire.variables import remember


@pytest.mark.parametrize("value", ["later", "", "/usr/bin:/bin", "a=b,c@d+50%"])
def test_a_plain_value_is_kept_without_quotes(value: str) -> None:
    """That daemon takes quotes for a part of the value."""
    line = shlex.split(remember("KEPT", value))[2]

    assert line == f"KEPT={value}"


def test_a_session_that_runs_out_of_time_says_so_at_the_end_of_its_stream() -> None:
    reader = ExecutionReader()
    reader.feed(b'{"type":"init","text":"s","timestamp":1}\n\n')
    reader.feed(b'{"type":"stdout","text":"begun","timestamp":2}\n\n')

    with pytest.raises(SandboxApiException, match="timeout after 1s"):
        reader.feed(b'{"code":"RUNTIME_ERROR","message":"timeout after 1s"}\n\n')
        reader.close()


def test_the_policy_of_a_sandbox_from_a_template_is_the_servers() -> None:
    protocol = OpenSandbox()
    answer = ok({"policy": {"defaultAction": "deny", "egress": []}})

    _, central = drive(protocol.egress_policy(protocol.central_policy(SERVER, "a/b")), answer)
    _, sidecar = drive(protocol.egress_policy(protocol.sidecar_policy(SANDBOX)), answer)

    (first,), (second,) = central, sidecar
    assert first.origin.base_url + first.path == "http://server/v1/sandboxes/a%2Fb/networkpolicy"
    assert first.origin.headers == SERVER.headers
    assert second.origin.base_url + second.path == "http://sandbox:1/policy"


def test_a_terminal_does_not_wait_long_for_a_goodbye() -> None:
    """That daemon says none; the library would wait ten seconds."""
    call = Call("attach_pty", SANDBOX, "GET", "/ws")

    assert options(call, {}, 30, embedded=True)["close_timeout"] < 3
