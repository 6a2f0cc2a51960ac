"""Endpoints are looked up once, as long as that holds; by hand-fed replies."""

from __future__ import annotations

from typing import Any

import pytest
from driving import SERVER, drive, ok

from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.wire.endpoints import Endpoints
from opensandbox_jupyter.wire.opensandbox import OpenSandbox


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def endpoints(**more: Any) -> Endpoints:
    options = {"ttl": 600.0, "size": 0, "use_server_proxy": False, "clock": Clock(), **more}
    return Endpoints(OpenSandbox(), SERVER, **options)


def place(name: str) -> Any:
    return ok({"endpoint": name, "headers": {"T": "t"}})


def test_one_is_looked_up_once_and_nobody_can_spoil_it() -> None:
    known = endpoints()
    found, (call,) = drive(known.find("a", 80), place("h:1"))
    found.headers["T"] = "spoiled"

    again, asked = drive(known.find("a", 80))

    assert call.path == "/sandboxes/a/endpoints/80"
    assert (again.endpoint, asked) == ("h:1", [])
    again.headers.clear()
    assert drive(known.find("a", 80))[0].headers == {"T": "t"}


def test_it_is_believed_for_a_while_only() -> None:
    clock = Clock()
    known = endpoints(ttl=10.0, clock=clock)
    drive(known.find("a", 80), place("h:1"))
    clock.now = 9.9
    assert drive(known.find("a", 80))[1] == []
    clock.now = 10.0
    assert drive(known.find("a", 80), place("h:2"))[0].endpoint == "h:2"


def test_a_sandbox_is_forgotten_with_all_its_ports_and_no_other_is() -> None:
    known = endpoints()
    for name, port in (("a", 80), ("a", 81), ("b", 80)):
        drive(known.find(name, port), place(f"{name}:{port}"))

    known.forget("a")

    assert len(drive(known.find("a", 80), place("new"))[1]) == 1
    assert len(drive(known.find("a", 81), place("new"))[1]) == 1
    assert drive(known.find("b", 80))[1] == []


def test_what_is_forgotten_while_it_is_looked_up_is_not_kept() -> None:
    known = endpoints()
    looking = known.find("a", 80)
    next(looking)

    known.forget("a")
    with pytest.raises(StopIteration):
        looking.send(place("old"))

    assert drive(known.find("a", 80), place("new"))[0].endpoint == "new"


def test_the_one_used_longest_ago_makes_room() -> None:
    known = endpoints(size=2)
    drive(known.find("a", 1), place("a"))
    drive(known.find("b", 1), place("b"))
    drive(known.find("a", 1))

    drive(known.find("c", 1), place("c"))

    assert drive(known.find("a", 1))[1] == []
    assert len(drive(known.find("b", 1), place("b"))[1]) == 1


def test_a_refusal_is_not_kept_and_a_cache_may_be_off() -> None:
    known = endpoints()
    with pytest.raises(SandboxApiException):
        drive(known.find("a", 80), ok({"code": "X", "message": "no"}, 404))
    assert drive(known.find("a", 80), place("h"))[0].endpoint == "h"
    off = endpoints(ttl=0.0)
    drive(off.find("a", 80), place("h"))
    assert drive(off.find("a", 80), place("i"))[0].endpoint == "i"
