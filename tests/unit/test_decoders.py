"""Whatever a server sends: only errors of ours come out, cuts change nothing, newer words pass."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensandbox_jupyter import models
from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    MalformedAnswerException,
    SandboxApiException,
    SandboxException,
)
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.settings import Settings, Target
from opensandbox_jupyter.transport.aio import AsyncTransport
from opensandbox_jupyter.transport.failures import BadAddress
from opensandbox_jupyter.transport.request import RequestWriter
from opensandbox_jupyter.wire.base import Call, Origin, Reply
from opensandbox_jupyter.wire.errors import api_error
from opensandbox_jupyter.wire.events import EventDecoder
from opensandbox_jupyter.wire.execution import ExecutionReader
from opensandbox_jupyter.wire.opensandbox import OpenSandbox

PROTOCOL = OpenSandbox()
ORIGIN = Origin("http://h")
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
CALL = Call("get_it", ORIGIN, "GET", "/")
relaxed = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))

# -- every operation -------------------------------------------------------------------------------

ARGUMENTS: dict[str, Any] = {
    "body": {"credentials": []},
    "cursor": 1,
    "expires": 1,
    "expires_at": NOW,
    "paths": ["/a"],
    "patch": {"a": None},
    "port": 80,
    "rules": [],
    "spec": SandboxSpec(image="a"),
    "targets": ["a"],
    "use_server_proxy": False,
}
BY_METHOD: dict[str, dict[str, Any]] = {
    "create_isolated": {"wanted": models.CreateIsolatedSessionRequest()},
    "create_template": {"wanted": models.CreateTemplateRequest(image="a", publish="s3://b")},
    "list_directory": {"entry": models.DirectoryListEntry(path="/")},
    "list_sandboxes": {"which": models.SandboxFilter()},
    "list_snapshots": {"which": models.SnapshotFilter()},
    "list_templates": {"which": models.TemplateFilter()},
    "make_directories": {"entries": [models.WriteEntry(path="/a")]},
    "move": {"entries": [models.MoveEntry(src="/a", dest="/b")]},
    "replace": {"entries": [models.ContentReplaceEntry(path="/", old_content="a", new_content="")]},
    "run_isolated_background": {"opts": models.IsolatedRunOpts()},
    "search": {"entry": models.SearchEntry(path="/", pattern="*")},
    "set_permissions": {"entries": [models.SetPermissionEntry(path="/a", mode=600)]},
    "upload": {"entries": [models.WriteEntry(path="/a", data=b"x")]},
}


def arguments(name: str, method: Callable[..., Any]) -> dict[str, Any]:
    known = {**ARGUMENTS, **BY_METHOD.get(name, {})}
    given = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is not parameter.empty:
            continue
        is_origin = parameter.annotation == "Origin"
        given[parameter.name] = ORIGIN if is_origin else known.get(parameter.name, "a")
    return given


OPERATIONS = {
    name: method
    for name, method in inspect.getmembers(PROTOCOL, inspect.ismethod)
    if name[0] != "_" and str(inspect.signature(method).return_annotation).startswith("Operation")
}


def run(name: str, reply: Reply) -> object:
    """Run an operation that gets the same answer to everything that it asks."""
    operation = OPERATIONS[name](**arguments(name, OPERATIONS[name]))
    try:
        next(operation)
        while True:
            operation.send(reply)
    except StopIteration as end:
        return end.value


NAMES = sorted(
    {
        alias
        for model in (getattr(models, name) for name in models.__all__)
        for field_name, field in getattr(model, "model_fields", {}).items()
        for alias in (field_name, str(field.alias))
    }
    | {"id", "policy", "sessions", "endpoint", "headers", "code", "message", "session_id"}
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
moments = st.datetimes().map(str) | st.sampled_from(["2026-01-02T03:04:05Z", "9" * 30, "-1"])
data = st.recursive(
    scalars | moments,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=8)
    ),
    max_leaves=24,
)
bodies = st.binary(max_size=60) | data.map(lambda value: json.dumps(value).encode())
headers = st.dictionaries(
    st.sampled_from(["x-request-id", "retry-after", "execd-commands-tail-cursor", "date"]),
    st.text(max_size=20) | st.integers().map(str) | st.floats().map(str),
)
statuses = st.sampled_from([200, 201, 202, 204]) | st.integers(100, 999)


@pytest.mark.parametrize("name", OPERATIONS)
@relaxed
@given(st.builds(Reply, statuses, headers, bodies))
def test_only_our_errors_come_out_of_an_operation(name: str, reply: Reply) -> None:
    try:
        run(name, reply)
    except SandboxException as error:
        assert "\n" not in str(error.message).replace(str(error.error.message), "")
        assert isinstance(error, SandboxApiException)
        assert error.operation


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b"\xff"])
def test_depth_and_length_are_errors_of_ours(name: str, body: bytes) -> None:
    for status in (200, 201, 202, 500):
        with suppress(SandboxApiException):
            run(name, Reply(status, {}, body))


# -- what is newer than we are ---------------------------------------------------------------------

MOMENT = "2026-01-02T03:04:05.123456789Z"
SANDBOX = {
    "id": "a",
    "status": {"state": "Hibernating", "lastTransitionAt": MOMENT},
    "createdAt": MOMENT,
    "image": {"uri": "a", "digest": "sha256:1", "auth": {"username": "u", "password": "p", "x": 1}},
    "platform": {"os": "plan9", "arch": "riscv64", "variant": "v8"},
    "metadata": None,
}
PAGE = {"page": 1, "pageSize": 1, "totalItems": 1, "totalPages": 1, "hasNextPage": False}
RULE = {"action": "audit", "target": "a", "ports": [1]}
SESSION = {
    "session_id": "s",
    "profile": "paranoid",
    "workspace": {"path": "/", "mode": "zfs", "size": 1},
    "overlays": [{"path": "/", "quota": 1}],
    "binds": [{"source": "/", "propagation": "private"}],
    "env_passthrough": {"mode": "ask", "keys": [], "why": 1},
    "uid_mode": "newer",
}
BINDING = {"name": "b", "revision": 1, "match": {"hosts": ["a"], "schemes": ["quic"], "sni": 1}}
TEMPLATE = {
    "templateId": "t", "image": "a", "publish": "p", "createdAt": MOMENT, "updatedAt": MOMENT,
    "format": "newer", "status": {"phase": "Thinking"}, "readiness": {"probe": "x", "grpc": 1},
}  # fmt: skip
SNAPSHOT = {"id": "n", "sandboxId": "a", "status": {"state": "Newer"}, "createdAt": MOMENT}
NEWER = {
    "get": (200, SANDBOX),
    "create": (202, SANDBOX),
    "patch_metadata": (200, SANDBOX),
    "list_sandboxes": (200, {"items": [SANDBOX], "pagination": PAGE}),
    "endpoint": (200, {"endpoint": "h:1", "headers": None, "via": "x"}),
    "signed_endpoint": (200, {"endpoint": "h:1", "headers": {"a": "b"}, "expires": 1}),
    "egress_policy": (200, {"policy": {"defaultAction": "ask", "egress": [RULE]}, "mode": "x"}),
    "create_isolated": (201, SESSION),
    "get_isolated": (200, {**SESSION, "status": "sleeping"}),
    "get_binding": (200, BINDING),
    "get_vault": (200, {"revision": 1, "credentials": [], "bindings": [BINDING]}),
    "get_template": (200, TEMPLATE),
    "list_templates": (200, {"items": [TEMPLATE], "pagination": PAGE}),
    "get_snapshot": (200, SNAPSHOT),
    "get_context": (200, {"id": "c", "language": "cobol"}),
}


def with_more(value: Any) -> Any:
    """Return the same with an unknown field in every object, free-form ones apart."""
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if not isinstance(value, dict) or set(value) == {"a"}:
        return value
    return {"ofTomorrow": [{"x": 1}], **{name: with_more(item) for name, item in value.items()}}


@pytest.mark.parametrize("name", NEWER)
def test_what_a_newer_server_says_is_let_pass(name: str) -> None:
    status, answer = NEWER[name]

    assert run(name, Reply(status, {}, json.dumps(with_more(answer)).encode())) is not None


def test_newer_words_are_kept_as_they_are() -> None:
    info = run("get", Reply(200, {}, json.dumps(SANDBOX).encode()))
    policy = run("egress_policy", Reply(200, {}, json.dumps(NEWER["egress_policy"][1]).encode()))

    assert isinstance(info, models.SandboxInfo)
    assert info.platform is not None
    assert (info.platform.os, info.platform.arch) == ("plan9", "riscv64")
    assert isinstance(policy, models.NetworkPolicy)
    assert (policy.default_action, policy.egress and policy.egress[0].action) == ("ask", "audit")


def test_what_a_caller_says_is_still_looked_at() -> None:
    with pytest.raises(InvalidArgumentException, match="os"):
        models.PlatformSpec(os="plan9", arch="amd64")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentException, match="targt"):
        models.NetworkRule(action="allow", targt="a")  # type: ignore[call-arg]


def test_what_is_missing_within_is_an_answer_that_cannot_be_read() -> None:
    answer = {**SANDBOX, "image": {"uri": ""}}
    with pytest.raises(MalformedAnswerException, match="get sandbox"):
        run("get", Reply(200, {}, json.dumps(answer).encode()))


# -- streams of events -----------------------------------------------------------------------------

KINDS = ["init", "stdout", "stderr", "result", "error", "execution_complete", "ping", "", "newer"]
frames = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": st.text(max_size=8),
        "timestamp": st.integers(0, 2**53),
        "results": st.dictionaries(st.text(max_size=4), scalars, max_size=2),
        "error": st.dictionaries(st.sampled_from(["ename", "evalue", "traceback"]), data),
        "ofTomorrow": data,
    },
).map(lambda frame: json.dumps(frame).encode() + b"\n\n")
streams = st.lists(frames | st.binary(max_size=12), max_size=8).map(b"".join)
cuts = st.lists(st.integers(1, 300), max_size=10)


def pieces_of(whole: bytes, places: list[int]) -> list[bytes]:
    inner = sorted({place for place in places if place < len(whole)})
    return [whole[a:b] for a, b in pairwise([0, *inner, len(whole)])]


def read(pieces: list[bytes]) -> tuple[str, str, object]:
    reader = ExecutionReader()
    try:
        for piece in pieces:
            reader.feed(piece)
            if reader.done:
                break
        reader.close()
        reader.finish()
        end: object = None
    except SandboxException as error:
        end = (type(error), error.error.code)
    execution = reader.execution
    return execution.stdout, execution.stderr, (end, execution.exit_code, execution.id)


@settings(relaxed, max_examples=100)
@given(streams, cuts)
def test_events_are_the_same_wherever_they_are_cut(whole: bytes, places: list[int]) -> None:
    one, many = EventDecoder(), EventDecoder()
    expected = one.feed(whole) + one.close()

    found = [event for piece in pieces_of(whole, places) for event in many.feed(piece)]
    assert found + many.close() == expected


@settings(relaxed, max_examples=100)
@given(streams, cuts)
def test_an_execution_is_the_same_wherever_its_stream_is_cut(
    whole: bytes, places: list[int]
) -> None:
    end = b'{"type":"execution_complete"}\n\n'

    assert read(pieces_of(whole + end, places)) == read(pieces_of(whole + end, list(range(999))))


# -- headers and addresses -------------------------------------------------------------------------


@settings(relaxed, max_examples=100)
@given(headers, bodies, statuses)
def test_every_refusal_is_an_error_with_its_facts(
    said: dict[str, str], body: bytes, status: int
) -> None:
    error = api_error(CALL, Reply(status, said, body))

    assert error.status_code == status
    wait = getattr(error, "retry_after", None)
    assert wait is None or wait >= timedelta(0)


@settings(relaxed, max_examples=100)
@given(st.text(max_size=30), st.dictionaries(st.text(max_size=6), st.text(max_size=8), max_size=3))
def test_an_endpoint_of_anything_is_sent_to_or_refused(where: str, said: dict[str, str]) -> None:
    resolved = Settings.resolve(domain="h", api_key="k")
    connection = Connection(resolved, Target("http://h/v1", "k"), AsyncTransport(resolved))
    origin = connection.origin_of(models.SandboxEndpoint(where, said))

    with suppress(InvalidArgumentException, BadAddress):
        head = RequestWriter({}).write(Call("ping", origin, "GET", "/ping")).head
        assert head.count(b"\r\n\r\n") == 1
        assert head.endswith(b"\r\n\r\n")
        assert b"/ping HTTP/1.1\r\n" in head
