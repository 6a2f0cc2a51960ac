"""Where settings come from, in which order, and that keys stay out of sight."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, SandboxSync
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.profiles import profile_path

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
    [("protocol", "ftp"), ("request_timeout", timedelta(0)), ("domian", "h")],
)
def test_a_setting_that_cannot_be_used_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidArgumentException, match=field):
        ConnectionConfig(**{field: value})


def test_a_broken_profile_is_named() -> None:
    write_profile("[connection\n")

    with pytest.raises(InvalidArgumentException, match=r"config\.toml"):
        ConnectionConfig().get_domain()


def test_the_key_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    config = ConnectionConfigSync(
        domain="127.0.0.1:9", api_key=KEY, headers={"X-Also": KEY}, debug=True
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
