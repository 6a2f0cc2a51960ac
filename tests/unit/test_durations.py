"""Lengths of time, as every call of the SDK takes them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import duration, lasting
from opensandbox_jupyter.models.execd import RunCommandOpts
from opensandbox_jupyter.wire.readiness import Patience

SECOND = timedelta(seconds=1)
NONSENSE = [-1, -0.1, -SECOND, float("nan"), float("inf"), 1e300, True, "10", None, [1], 4e9]


@pytest.mark.parametrize("value", [1, 1.0, SECOND])
def test_seconds_and_timedeltas_are_the_same(value: float | timedelta) -> None:
    assert duration(value) == lasting(value) == SECOND
    assert RunCommandOpts(timeout=value).timeout == SECOND
    assert Patience(value, value).budget == 1


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_refused_in_one_way_and_by_name(value: object) -> None:
    with pytest.raises(InvalidArgumentException, match=r"ready_timeout must be .*, not ") as caught:
        duration(value, "ready_timeout")
    assert "Give seconds" in str(caught.value)
    with pytest.raises(InvalidArgumentException):
        Patience(value, SECOND)
    if value is not None:
        with pytest.raises(InvalidArgumentException):
            RunCommandOpts(timeout=value)


def test_none_at_all_is_a_length_but_no_lifetime() -> None:
    assert duration(0) == timedelta(0)
    for nothing in (0, 0.0, timedelta(0)):
        with pytest.raises(InvalidArgumentException, match="at least"):
            lasting(nothing)
