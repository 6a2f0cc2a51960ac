"""The lifecycle operations: what goes out, what comes back, by hand-fed replies."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from driving import SERVER, drive, ok, sent

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxRateLimitException,
)
from opensandbox_jupyter.models.sandboxes import (
    Host,
    NetworkPolicy,
    NetworkRule,
    SandboxFilter,
    SandboxImageAuth,
    SandboxImageSpec,
    Volume,
)
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.wire.base import Reply
from opensandbox_jupyter.wire.opensandbox import OpenSandbox

PROTOCOL = OpenSandbox()
INFO = {
    "id": "s1",
    "status": {"state": "Running"},
    "createdAt": "2026-01-02T03:04:05.123456Z",
    "entrypoint": ["tail"],
}


def test_create_sends_the_defaults_and_no_more() -> None:
    answer = ok({"id": "s1", "status": {"state": "Running"}}, 202)
    spec = SandboxSpec(image="x", timeout=timedelta(minutes=10))

    created, (call,) = drive(PROTOCOL.create(SERVER, spec), answer)

    assert created == "s1"
    assert (call.method, call.path) == ("POST", "/sandboxes")
    assert sent(call) == {
        "image": {"uri": "x"},
        "timeout": 600,
        "resourceLimits": {"cpu": "1", "memory": "2Gi"},
        "entrypoint": ["tail", "-f", "/dev/null"],
        "secureAccess": False,
    }


def test_create_sends_everything_that_is_asked_for() -> None:
    spec = SandboxSpec(
        image=SandboxImageSpec("x", auth=SandboxImageAuth(username="u", password="p")),
        env={"A": "b"},
        network_policy=NetworkPolicy(egress=[NetworkRule(action="allow", target="*.a.test")]),
        volumes=[Volume(name="v", host=Host(path="/data"), mount_path="/mnt", read_only=True)],
    )

    _, (call,) = drive(PROTOCOL.create(SERVER, spec), ok({"id": "s1"}, 202))

    body = sent(call)
    assert body["timeout"] is None
    assert body["image"] == {"uri": "x", "auth": {"username": "u", "password": "p"}}
    assert body["env"] == {"A": "b"}
    assert body["networkPolicy"] == {
        "defaultAction": "deny",
        "egress": [{"action": "allow", "target": "*.a.test"}],
    }
    assert body["volumes"] == [
        {"name": "v", "host": {"path": "/data"}, "mountPath": "/mnt", "readOnly": True}
    ]


@pytest.mark.parametrize("status", [200, 201])
def test_create_refuses_other_successes_and_kills_what_was_made(status: int) -> None:
    create = PROTOCOL.create(SERVER, SandboxSpec(image="x"))
    next(create)

    kill = create.send(ok({"id": "s1"}, status))

    assert (kill.method, kill.path) == ("DELETE", "/sandboxes/s1")
    with pytest.raises(SandboxApiException) as caught:
        create.send(Reply(204))
    assert caught.value.status_code == status


def test_get_reads_a_minimal_answer_with_absent_keys() -> None:
    info, (call,) = drive(PROTOCOL.get(SERVER, "a/b"), ok(INFO))

    assert call.path == "/sandboxes/a%2Fb"
    assert (info.metadata, info.expires_at, info.image) == ({}, None, None)
    assert info.created_at == datetime(2026, 1, 2, 3, 4, 5, 123456, timezone.utc)


def test_get_reads_nulls_as_absent() -> None:
    nulls = {"expiresAt": None, "metadata": None, "image": None, "extensions": None}

    info, _ = drive(PROTOCOL.get(SERVER, "s1"), ok({**INFO, **nulls}))

    assert (info.metadata, info.extensions, info.expires_at) == ({}, {}, None)


def test_list_encodes_the_metadata_filter_inside_one_parameter() -> None:
    page = {"page": 1, "pageSize": 20, "totalItems": 0, "totalPages": 0, "hasNextPage": False}
    which = SandboxFilter(
        states=["Running", "Paused"], metadata={"a b": "c&d=e", "k": "v"}, page=2, page_size=5
    )

    paged, (call,) = drive(
        PROTOCOL.list_sandboxes(SERVER, which), ok({"items": [], "pagination": page})
    )

    assert call.query == [
        ("state", "Running"),
        ("state", "Paused"),
        ("metadata", "a%20b=c%26d%3De&k=v"),
        ("page", "2"),
        ("pageSize", "5"),
    ]
    assert paged.sandbox_infos == []
    assert paged.pagination.has_next_page is False


def test_renew_sends_utc_and_returns_the_new_end() -> None:
    moment = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    renewed, (call,) = drive(
        PROTOCOL.renew(SERVER, "s1", moment), ok({"expiresAt": "2026-01-01T00:00:00Z"})
    )

    assert sent(call) == {"expiresAt": "2026-01-01T00:00:00Z"}
    assert renewed.expires_at == moment


def test_endpoint_keeps_path_headers_and_origin() -> None:
    answer = ok({"endpoint": "h:1/x/y", "headers": {"T": "1"}}, OPEN_SANDBOX_ORIGIN="template")

    found, (call,) = drive(PROTOCOL.endpoint(SERVER, "s1", 80, use_server_proxy=True), answer)

    assert call.query == [("use_server_proxy", "true")]
    assert (found.endpoint, found.headers, found.origin) == ("h:1/x/y", {"T": "1"}, "template")


@pytest.mark.parametrize("verb", ["kill", "pause", "resume"])
def test_actions_accept_any_success(verb: str) -> None:
    result, _ = drive(getattr(PROTOCOL, verb)(SERVER, "s1"), ok(None, 204))

    assert result is None


def test_an_error_carries_code_status_and_request_id() -> None:
    body = {"code": "DOCKER::SANDBOX_NOT_FOUND", "message": "no such sandbox"}

    with pytest.raises(SandboxApiException) as caught:
        drive(PROTOCOL.get(SERVER, "s1"), ok(body, 404, X_Request_ID=" r1 "))

    error = caught.value
    assert (error.status_code, error.error.code, error.request_id) == (404, body["code"], "r1")
    assert error.operation == "get_sandbox"
    assert "no such sandbox" in str(error)
    assert error.hint


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>proxy</html>", b'{"detail":"Not Found"}', b"\xff\xfe", b"[1]", b"[" * 9999],
)
def test_an_error_without_a_known_body_is_still_a_typed_error(body: bytes) -> None:
    with pytest.raises(SandboxApiException) as caught:
        drive(PROTOCOL.get(SERVER, "s1"), Reply(404, {}, body))

    assert caught.value.error.code == "UNEXPECTED_RESPONSE"
    assert caught.value.response_body == body


def test_a_rate_limit_says_how_long_to_wait() -> None:
    with pytest.raises(SandboxRateLimitException) as caught:
        drive(PROTOCOL.get(SERVER, "s1"), ok({}, 429, Retry_After="7"))

    assert caught.value.retry_after == timedelta(seconds=7)
    assert caught.value.is_retryable


def test_a_success_that_is_not_json_is_an_error_of_the_server() -> None:
    with pytest.raises(SandboxApiException, match="not JSON"):
        drive(PROTOCOL.get(SERVER, "s1"), Reply(200, {}, b"<html>"))


def test_a_success_that_lacks_what_was_promised_is_an_error() -> None:
    with pytest.raises(InvalidArgumentException, match="promises"):
        drive(PROTOCOL.get(SERVER, "s1"), ok({"id": "s1"}))
