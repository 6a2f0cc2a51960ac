"""Where settings come from, in which order, and that keys stay out of sight."""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from pathlib import Path

import httpx
import pydantic
import pytest

from opensandbox_jupyter import (
    ConnectionConfig,
    ConnectionConfigSync,
    Sandbox,
    SandboxManagerSync,
    SandboxSync,
)
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.profiles import profile_path
from opensandbox_jupyter.transport import RetryAsyncTransport, RetryPolicy, RetrySyncTransport

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write_profile(text: str) -> None:
    path = profile_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def test_nothing_configured_means_the_embedded_server() -> None:
    assert ConnectionConfig().settings().target is None
    assert ConnectionConfig().get_base_url() is None


def test_an_argument_beats_the_environment_beats_the_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_profile(f'[connection]\ndomain = "profile:1"\napi_key = "{KEY}"\nprotocol = "https"\n')
    assert ConnectionConfig().get_base_url() == "https://profile:1/v1"
    assert ConnectionConfig().get_api_key() == KEY

    monkeypatch.setenv("OPEN_SANDBOX_DOMAIN", "environment:2")
    assert ConnectionConfig().get_domain() == "environment:2"
    assert ConnectionConfigSync(domain="argument:3").get_domain() == "argument:3"


def test_a_named_profile_comes_before_connection_and_after_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_profile(
        f'[connection]\ndomain = "c:1"\napi_key = "{KEY}"\nrequest_timeout = 7\n'
        '[profiles.work]\ndomain = "w:2"\nprotocol = "https"\nuse_server_proxy = true\n'
        '[profiles.here]\ndomain = ""\n'
    )
    config = ConnectionConfig(profile="work")
    assert config.get_base_url() == "https://w:2/v1"
    assert config.get_request_timeout() == timedelta(seconds=7)
    assert config.get_use_server_proxy()
    assert config.get_api_key() == ""  # that of [connection] is for another server

    monkeypatch.setenv("OPENSANDBOX_PROFILE", "work")
    assert ConnectionConfigSync().get_domain() == "w:2"
    assert ConnectionConfig(profile="default").get_api_key() == KEY
    assert ConnectionConfig(profile="here").settings().target is None

    monkeypatch.setenv("OPEN_SANDBOX_DOMAIN", "environment:3")
    assert config.get_base_url() == "http://environment:3/v1"
    assert ConnectionConfig(profile="work", domain="argument:4").get_domain() == "argument:4"


def test_a_profile_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    write_profile("[profiles.work]\n")

    with pytest.raises(InvalidArgumentException, match="no profile 'wrok'") as caught:
        SandboxSync.create("base", connection_config=ConnectionConfigSync(profile="wrok"))

    assert "default, work" in str(caught.value)


@pytest.mark.parametrize(
    ("domain", "base_url"),
    [
        ("h:1", "http://h:1/v1"),
        ("https://h", "https://h/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("h/prefix", "http://h/prefix/v1"),
    ],
)
def test_a_domain_may_carry_its_scheme(domain: str, base_url: str) -> None:
    assert ConnectionConfig(domain=domain).get_base_url() == base_url


def test_the_request_timeout_is_seconds_outside_and_a_timedelta_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ConnectionConfig().get_request_timeout() == timedelta(seconds=30)
    monkeypatch.setenv("OPEN_SANDBOX_REQUEST_TIMEOUT", "1.5")
    assert ConnectionConfig().get_request_timeout() == timedelta(seconds=1.5)
    monkeypatch.setenv("OPEN_SANDBOX_REQUEST_TIMEOUT", "soon")
    with pytest.raises(InvalidArgumentException, match="number of seconds"):
        ConnectionConfig().get_request_timeout()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", "ftp"),
        ("request_timeout", timedelta(0)),
        ("domain", 8080),
        ("headers", {"X": 1}),
        ("endpoint_cache_size", -1),
        ("retry_policy", 3),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidArgumentException, match=field):
        ConnectionConfig(**{field: value})


def test_a_misspelt_setting_is_told_the_right_spelling() -> None:
    with pytest.raises(InvalidArgumentException, match="Did you mean domain"):
        ConnectionConfig(domian="h")
    with pytest.raises(AttributeError, match="domian"):
        ConnectionConfigSync().domian = "h"  # type: ignore[attr-defined]


def test_settings_are_read_as_people_write_them() -> None:
    config = ConnectionConfig(request_timeout=5, use_server_proxy="true", debug=1)
    assert config.request_timeout == timedelta(seconds=5)
    assert (config.use_server_proxy, config.debug) == (True, True)


def test_a_model_of_pydantic_may_hold_a_configuration() -> None:
    class Job(pydantic.BaseModel):
        where: ConnectionConfig

    config = ConnectionConfig(domain="h", api_key=KEY)
    assert Job(where=config).where is config
    with pytest.raises(pydantic.ValidationError):
        Job(where={"domain": "h"})  # type: ignore[arg-type]


def test_a_broken_profile_is_named() -> None:
    write_profile("[connection\n")

    with pytest.raises(InvalidArgumentException, match=r"config\.toml"):
        ConnectionConfig().get_domain()


def test_the_key_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    config = ConnectionConfigSync(
        domain="127.0.0.1:9",
        api_key=KEY,
        headers={"X-Also": KEY},
        debug=True,
        retry_policy=RetryPolicy(initial_backoff=timedelta(0)),
    )

    with caplog.at_level(logging.DEBUG), pytest.raises(SandboxException) as caught:
        SandboxSync.create("base", connection_config=config)

    assert KEY not in repr(config) + str(config) + str(caught.value) + repr(caught.value)
    assert KEY not in caplog.text
    assert "create_sandbox" in caplog.text


def test_the_key_goes_to_the_server_and_not_to_the_sandbox() -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.path] = request.headers.get("open-sandbox-api-key")
        return httpx.Response(200, json={"endpoint": "sandbox:1", "headers": {"T": "t"}})

    config = ConnectionConfigSync(domain="h", api_key=KEY, transport=httpx.MockTransport(answer))
    SandboxSync.connect("a", connection_config=config)
    proxied = config.model_copy(update={"use_server_proxy": True})
    SandboxSync.connect("b", connection_config=proxied, skip_health_check=True).is_healthy()

    assert seen["/v1/sandboxes/a/endpoints/44772"] == KEY
    assert seen["/ping"] == KEY  # the last ping went through the server, which asks for it


def test_a_direct_ping_carries_no_key() -> None:
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ping":
            keys.append(request.headers.get("open-sandbox-api-key"))
        return httpx.Response(200, json={"endpoint": "sandbox:1"})

    config = ConnectionConfigSync(domain="h", api_key=KEY, transport=httpx.MockTransport(answer))
    SandboxSync.connect("a", connection_config=config)

    assert keys == [None]


async def test_a_transport_is_closed_by_whom_it_belongs_to() -> None:
    closed: list[str] = []

    class Mine(httpx.MockTransport):
        def close(self) -> None:
            closed.append("mine")

    mine = ConnectionConfigSync(domain="h", transport=Mine(lambda _: httpx.Response(200)))
    assert not mine.owns_transport
    assert mine.with_transport_if_missing() is mine
    mine.close_transport_if_owned()
    with SandboxManagerSync.create(mine):
        pass
    assert closed == []

    plain = ConnectionConfigSync(domain="h")
    made = plain.with_transport_if_missing(max_connections=7)
    assert plain.owns_transport
    assert plain.transport is None
    assert made.owns_transport
    assert isinstance(made.transport, RetrySyncTransport)
    assert made.settings().owns_transport
    taken = made.model_copy(update={"transport": mine.transport})
    assert not taken.owns_transport
    made.close_transport_if_owned()
    brisk = ConnectionConfig(retry_policy=RetryPolicy.disabled())
    assert isinstance(brisk.new_owned_transport(), httpx.AsyncHTTPTransport)
    again = ConnectionConfig().with_transport_if_missing()
    assert isinstance(again.transport, RetryAsyncTransport)
    await again.close_transport_if_owned()


async def test_hooks_see_requests_and_answers_in_both_colours() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"endpoint": "sandbox:1", "headers": {}})

    async def later(one: httpx.Request | httpx.Response) -> None:
        seen.append(type(one).__name__)

    def now(one: httpx.Request | httpx.Response) -> None:
        seen.append(type(one).__name__)

    transport = httpx.MockTransport(answer)
    for hook, config, connect in (
        (later, ConnectionConfig, Sandbox.connect),
        (now, ConnectionConfigSync, SandboxSync.connect),
    ):
        hooks = {"request": [hook], "response": [hook]}
        found = connect("a", config(domain="h", transport=transport, event_hooks=hooks))
        if inspect.isawaitable(found):
            await found
        assert seen == ["Request", "Response"] * 2
        seen.clear()


def test_no_event_is_reported_to_anybody() -> None:
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        body = {"id": "a", "endpoint": "sandbox:1", "headers": {}}
        return httpx.Response(202 if request.method == "POST" else 200, json=body)

    config = ConnectionConfigSync(domain="h", transport=httpx.MockTransport(answer))
    SandboxSync.create("x", connection_config=config)

    assert paths == ["/v1/sandboxes", "/v1/sandboxes/a/endpoints/44772", "/ping"]
    assert ConnectionConfig(disable_metrics=True).disable_metrics


def test_a_log_holds_no_password_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    config = ConnectionConfigSync(
        domain=f"user:{KEY}@127.0.0.1:9", debug=True, retry_policy=RetryPolicy.disabled()
    )

    with caplog.at_level(logging.DEBUG), pytest.raises(SandboxException) as caught:
        SandboxSync.connect("a", config)

    assert KEY not in caplog.text + str(caught.value)
    assert "@127.0.0.1:9/v1/sandboxes/a/endpoints/44772" in caplog.text


def test_an_endpoint_is_looked_up_again_after_a_pause_and_after_a_kill() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path.removeprefix('/v1/sandboxes/a')}")
        return httpx.Response(
            202 if request.method == "POST" else 204 if request.method == "DELETE" else 200,
            json={"endpoint": "sandbox:1", "headers": {}},
        )

    config = ConnectionConfigSync(domain="h", transport=httpx.MockTransport(answer))
    sandbox = SandboxSync.connect("a", config, skip_health_check=True)
    for act in (lambda: None, sandbox.pause, sandbox.kill):
        act()
        sandbox.get_endpoint(80)
        sandbox.get_endpoint(80)

    look_up = "GET /endpoints/80"
    expected = ["GET /endpoints/44772", look_up, "POST /pause", look_up, "DELETE ", look_up]
    assert asked == expected
