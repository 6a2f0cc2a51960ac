"""Waiting for a sandbox: what is tried again, what is not, and how it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from driving import SANDBOX, SERVER, drive, ok

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxReadyTimeoutException,
)
from opensandbox_jupyter.wire.base import Call, Probe, Sleep
from opensandbox_jupyter.wire.opensandbox import OpenSandbox
from opensandbox_jupyter.wire.readiness import Patience, find_endpoint, wait_ready

PROTOCOL = OpenSandbox()
STARTING = ok({"code": "KUBERNETES::POD_IP_NOT_AVAILABLE", "message": "not yet"}, 404)
FOUND = ok({"endpoint": "h:1"})


def patience(seconds: float = 30, times: list[float] | None = None) -> Patience:
    clock = iter(times or [0.0] * 100)
    return Patience(timedelta(seconds=seconds), timedelta(milliseconds=10), lambda: next(clock))


def waiting(custom: bool = False, patience_: Patience | None = None) -> object:
    return wait_ready(PROTOCOL, SANDBOX, "s1", custom=custom, patience=patience_ or patience())


def finding(patience_: Patience | None = None) -> object:
    return find_endpoint(
        PROTOCOL, SERVER, "s1", 44772, use_server_proxy=False, patience=patience_ or patience()
    )


def test_an_endpoint_is_asked_for_again_only_while_its_machine_starts() -> None:
    found, effects = drive(finding(), STARTING, None, STARTING, None, FOUND)

    assert found.endpoint == "h:1"
    assert [type(e) for e in effects[1::2]] == [Sleep, Sleep]


def test_an_unknown_sandbox_is_not_waited_for() -> None:
    with pytest.raises(SandboxApiException):
        drive(finding(), ok({"code": "DOCKER::SANDBOX_NOT_FOUND", "message": "?"}, 404))


def test_ready_is_tried_again_after_every_kind_of_no() -> None:
    refused = SandboxConnectionException("refused")

    _, effects = drive(waiting(), refused, None, ok({}, 503), None, ok({}, 500), None, ok())

    pauses = [e.seconds for e in effects if isinstance(e, Sleep)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 0.01


@pytest.mark.parametrize("ready", [0.01, 0.05, 0.2, 1.0])
def test_a_sandbox_is_found_ready_soon_after_it_is(ready: float) -> None:
    interval = timedelta(milliseconds=200)
    waits = Patience(timedelta(seconds=30), interval, lambda: 0.0)
    slept = asked = 0.0

    while slept < ready:
        pause = waits.next_pause()
        assert pause is not None
        slept, asked = slept + pause.seconds, asked + 1

    assert slept - ready <= 0.002 + ready / 8
    assert asked <= 50


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_not_waited_for(status: int) -> None:
    with pytest.raises(SandboxApiException):
        drive(waiting(), ok({"code": "INVALID_API_KEY", "message": "no"}, status))


def test_time_runs_out_with_the_last_answer_as_the_reason() -> None:
    clock = patience(1, [0.0, 2.0])

    with pytest.raises(SandboxReadyTimeoutException, match="not ready after 1 s") as caught:
        drive(waiting(patience_=clock), ok({"message": "booting"}, 503))

    assert "booting" in str(caught.value)
    assert isinstance(caught.value.cause, SandboxApiException)


def test_a_check_of_ones_own_replaces_the_ping() -> None:
    _, effects = drive(waiting(custom=True), False, None, True)

    assert [type(e) for e in effects] == [Probe, Sleep, Probe]


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(InvalidArgumentException):
        Patience(timedelta(seconds=-1), timedelta(0))


def test_polling_is_not_slowed_by_repeats_of_the_transport() -> None:
    _, asked = drive(waiting(), ok({}, 503), None, ok({}))

    assert [one.once for one in asked if isinstance(one, Call)] == [True, True]
