"""When a request is sent again, by hand: no clock, no chance, no network."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.retry import Attempts, retry_after
from opensandbox_jupyter.transport import JitterMode, RetryCause, RetryEvent, RetryPolicy

PLAIN = RetryPolicy(jitter=JitterMode.NONE)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(policy: RetryPolicy = PLAIN, method: str = "GET", **more: Any) -> Attempts:
    return Attempts(policy, method, "http://h/p", clock=more.pop("clock", Clock()), **more)


def test_pauses_double_and_end() -> None:
    one = attempts()

    pauses = [one.after_failure(RetryCause.READ_TIMEOUT) for _ in range(4)]

    assert pauses == [0.5, 1.0, 2.0, None]


@pytest.mark.parametrize(
    ("method", "cause", "again"),
    [
        ("GET", RetryCause.READ_TIMEOUT, True),
        ("DELETE", RetryCause.UNEXPECTED_EOF, True),
        ("POST", RetryCause.PRE_SEND, True),
        ("POST", RetryCause.READ_TIMEOUT, False),
        ("PATCH", RetryCause.OPAQUE_TRANSPORT, False),
    ],
)
def test_what_may_have_been_carried_out_is_repeated_only_if_that_does_no_harm(
    method: str, cause: RetryCause, again: bool
) -> None:
    assert (attempts(method=method).after_failure(cause) is not None) is again


@pytest.mark.parametrize(
    ("method", "status", "again"),
    [
        ("GET", 200, False), ("GET", 404, False), ("GET", 500, False), ("GET", 504, False),
        ("GET", 429, True), ("GET", 502, True), ("PUT", 503, True), ("POST", 503, False),
    ],
)  # fmt: skip
def test_answers_after_which_it_is_sent_again(method: str, status: int, again: bool) -> None:
    assert (attempts(method=method).after_answer(status, {}) is not None) is again


def test_a_policy_may_name_other_statuses() -> None:
    policy = RetryPolicy(retryable_status_codes_non_idempotent=[500])

    assert attempts(policy, "POST").after_answer(500, {}) is not None
    assert policy.retryable_statuses_for("patch") == {500}


def test_what_cannot_be_replayed_is_never_sent_again() -> None:
    one = attempts(replayable=False)

    assert one.after_failure(RetryCause.PRE_SEND) is None
    assert one.after_answer(503, {"retry-after": "1"}) is None


@pytest.mark.parametrize(
    ("header", "pause"), [("7", 7.0), ("0", 0.0), ("3600", 60.0), ("-5", 0.0), ("soon", 0.5)]
)
def test_the_servers_wish_is_heeded_up_to_a_minute(header: str, pause: float) -> None:
    assert attempts().after_answer(503, {"retry-after": header}) == pause


def test_a_wish_may_be_a_date() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=30)

    pause = attempts().after_answer(429, {"retry-after": format_datetime(later, usegmt=True)})

    assert pause is not None
    assert 20 < pause <= 30


@given(st.text())
def test_no_wish_breaks_anything(value: str) -> None:
    wish = retry_after(value)

    assert wish is None or wish >= timedelta(0)


def test_nobody_waits_beyond_the_deadline() -> None:
    clock = Clock()
    one = attempts(RetryPolicy(jitter=JitterMode.NONE, overall_deadline=timedelta(seconds=1.2)),
                   clock=clock)  # fmt: skip

    assert one.bound() == pytest.approx(1.2)
    assert one.after_answer(503, {"retry-after": "30"}) is None
    assert one.after_failure(RetryCause.PRE_SEND) == 0.5
    clock.now += 0.5
    assert one.bound() == pytest.approx(0.7)
    assert one.after_failure(RetryCause.PRE_SEND) is None  # 1 s, where 0.7 s are left


def test_an_attempt_is_bounded_by_the_tighter_of_two() -> None:
    second = timedelta(seconds=1)

    assert attempts(RetryPolicy(per_attempt_timeout=second)).bound() == 1.0
    assert attempts(RetryPolicy(per_attempt_timeout=second, overall_deadline=second / 2)).bound() \
        == 0.5  # fmt: skip
    assert attempts().bound() is None


@given(st.sampled_from(JitterMode), st.floats(0, 1), st.integers(1, 30))
def test_chance_keeps_within_bounds(jitter: JitterMode, chance: float, count: int) -> None:
    policy = RetryPolicy(max_retries=count, jitter=jitter, max_backoff=timedelta(seconds=4))
    one = attempts(policy, uniform=lambda low, high: low + (high - low) * chance)

    pauses = [one.after_failure(RetryCause.PRE_SEND) for _ in range(count)]

    assert all(pause is not None and 0 <= pause <= 4 for pause in pauses)
    if jitter is not JitterMode.FULL:
        assert pauses[0] == 0.5


def test_on_retry_is_told_all_and_may_fail() -> None:
    told: list[RetryEvent] = []

    def tell(event: RetryEvent) -> None:
        told.append(event)
        raise RuntimeError("a hook's own trouble")

    one = attempts(RetryPolicy(on_retry=tell, jitter=JitterMode.NONE))

    assert one.after_answer(503, {"x-request-id": "r1"}) == 0.5
    (event,) = told
    assert (event.attempt, event.retries_used, event.status_code) == (2, 0, 503)
    assert (event.cause, event.request_id) == (RetryCause.STATUS_503, "r1")
    assert (event.method, event.url, event.backoff) == ("GET", "http://h/p", timedelta(seconds=0.5))


@pytest.mark.parametrize(
    "fault",
    [
        {"max_retries": -1},
        {"initial_backoff": timedelta(seconds=-1)},
        {"backoff_multiplier": 0.5},
        {"per_attempt_timeout": timedelta(0)},
        {"overall_deadline": timedelta(0)},
        {"max_backoff": "soon"},
    ],
)
def test_a_policy_that_cannot_be_is_named(fault: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentException, match=next(iter(fault))):
        RetryPolicy(**fault)


def test_disabled_means_once() -> None:
    assert attempts(RetryPolicy.disabled()).after_failure(RetryCause.PRE_SEND) is None
    assert not RetryPolicy.disabled().wraps_transport()
