"""Keys show nowhere: not in a repr, a log, an error, a pickle or a warning."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from opensandbox_jupyter import (
    ConnectionConfig,
    ConnectionConfigSync,
    SandboxManagerSync,
    SandboxSync,
    exceptions,
)
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    MalformedAnswerException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    UnsupportedOperationException,
)
from opensandbox_jupyter.local import LocalServer
from opensandbox_jupyter.models.endpoints import SignedEndpoint
from opensandbox_jupyter.models.execd import RunCommandOpts
from opensandbox_jupyter.models.sandboxes import (
    OSSFS,
    SandboxEndpoint,
    SandboxImageAuth,
    SandboxImageSpec,
    SandboxInfo,
)
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.models.vault import Credential, InlineCredentialSource
from opensandbox_jupyter.secrecy import masked, without_credentials
from opensandbox_jupyter.settings import Settings, Target
from opensandbox_jupyter.transport.request import RequestWriter
from opensandbox_jupyter.wire.base import Call, Origin, Reply

KEY = 'sk-"very"/secret'
TOKEN = "token-of-a-sandbox"
BASIC = base64.b64encode(f"me:{TOKEN}".encode()).decode()
SECRETS = (KEY, json.dumps(KEY)[1:-1], TOKEN, BASIC)
SERVER = f"http://me:{TOKEN}@127.0.0.1:9"


def nothing_shows(*texts: object) -> None:
    for text in texts:
        assert [s for s in SECRETS if s in str(text) or s in repr(text)] == []


def all_of(error: BaseException) -> str:
    """Return everything that a log or a notebook shows of an error and of those behind it."""
    shown = ["".join(traceback.format_exception(error))]
    while error:
        shown += [str(error), repr(error), str(error.args), str(vars(error))]
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "\n".join(shown)


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> ConnectionConfigSync:
    transport = httpx.MockTransport(answer)
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Mine": KEY}
    return ConnectionConfigSync(domain="h", api_key=KEY, headers=headers, transport=transport)


# -- what is looked at -----------------------------------------------------------------------------

ORIGIN = Origin(SERVER, {"OPEN-SANDBOX-API-KEY": KEY})
CALL = Call("create", ORIGIN, "POST", "/x", headers={"T": TOKEN}, json=json.dumps(KEY).encode())
HOLDERS: list[Any] = [
    ConnectionConfig(api_key=KEY, domain=SERVER, headers={"Authorization": TOKEN}),
    ConnectionConfigSync(api_key=KEY, domain=f"me:{TOKEN}@h", headers={"X": KEY}),
    Settings.resolve(api_key=KEY, domain=SERVER, headers={"X": KEY}),
    Target(SERVER, KEY),
    LocalServer("http://127.0.0.1:9", KEY, 1, "0"),
    ORIGIN,
    CALL,
    Reply(200, {"Set-Cookie": KEY}, KEY.encode()),
    RequestWriter({"Authorization": TOKEN}).write(CALL),
    SandboxEndpoint(endpoint="h:1", headers={"X-EXECD-ACCESS-TOKEN": TOKEN}),
    SignedEndpoint(f"h:1/{TOKEN}"),
    SandboxImageSpec("a", auth=SandboxImageAuth(username="me", password=KEY)),
    OSSFS(bucket="abc", endpoint="e", access_key_id=KEY, access_key_secret=TOKEN),
    Credential(name="c", source=InlineCredentialSource(value=KEY)),
    SandboxSpec(image="a", env={"K": KEY}, extensions={"e": TOKEN}),
    RunCommandOpts(envs={"K": KEY}),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_no_repr_shows_a_secret(holder: Any) -> None:
    nothing_shows(repr(holder), str(holder), [holder], f"{holder}", {"k": holder})


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("holder", HOLDERS[:7] + HOLDERS[9:14], ids=lambda it: type(it).__name__)
def test_no_pickle_holds_a_secret(holder: Any, protocol: int) -> None:
    try:
        kept = pickle.dumps(holder, protocol)
    except TypeError as error:
        assert "holds a key" in str(error)
    else:
        assert [s for s in SECRETS if s.encode() in kept] == []


def test_a_pickled_configuration_finds_its_key_where_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = ConnectionConfig(
        domain=f"me:{TOKEN}@h:1",
        api_key=KEY,
        protocol="https",
        transport=object(),
        profile="default",
    )
    read = pickle.loads(pickle.dumps(config))

    assert (read.domain, read.protocol, read.profile) == ("h:1", "https", "default")
    assert (read.api_key, read.transport, read.get_api_key()) == (None, None, "")
    monkeypatch.setenv("OPEN_SANDBOX_API_KEY", "found")
    assert read.get_api_key() == "found"

    for same in (copy.copy(config), config.model_copy(), copy.deepcopy(config)):
        assert same.api_key == KEY
        nothing_shows(same)


def test_handles_are_not_pickled() -> None:
    config = answering(lambda _: httpx.Response(200, json={"endpoint": "s:1"}))
    with SandboxManagerSync.create(config) as manager:
        sandbox = SandboxSync.connect("a", connection_config=config)
        for handle in (sandbox, manager, sandbox.files, sandbox.commands):
            nothing_shows(handle)
            with pytest.raises(TypeError, match="holds a key"):
                pickle.dumps(handle)
        sandbox.close()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("shape", ["text", "json"])
def test_a_server_that_echoes_a_key_does_not_make_us_show_it(
    status: int, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        said = f"no {KEY} {request.headers.get('authorization')} {request.content.decode()}"
        if shape == "json":
            return httpx.Response(status, json={"code": f"C::{KEY}", "message": said})
        return httpx.Response(status, text=said)

    auth = SandboxImageAuth(username="me", password=TOKEN)
    with caplog.at_level(logging.DEBUG), pytest.raises(SandboxApiException) as caught:
        SandboxSync.create(
            SandboxImageSpec("a", auth=auth),
            env={"MY_KEY": KEY},
            connection_config=answering(answer),
        )

    nothing_shows(all_of(caught.value), caught.value.response_body, caplog.text)
    assert caught.value.status_code == status
    assert caught.value.operation == "create_sandbox"
    if status >= 300:
        assert "***" in str(caught.value)


def test_a_stream_that_is_refused_with_a_key_in_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/command":
            return httpx.Response(500, text=f"{TOKEN} and {KEY}")
        return httpx.Response(200, json={"endpoint": "s:1", "headers": {"X-Token": TOKEN}})

    sandbox = SandboxSync.connect("a", connection_config=answering(answer))
    with pytest.raises(SandboxApiException) as caught:
        sandbox.commands.run("true")
    nothing_shows(all_of(caught.value), caught.value.response_body)
    sandbox.close()


def test_an_answer_that_breaks_the_protocol_is_not_quoted() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, json={"headers": {"X": TOKEN}, "endpoint": 5}, headers={"X-Request-ID": "r1"}
        )

    with pytest.raises(MalformedAnswerException) as caught:
        SandboxSync.connect("a", connection_config=answering(answer))

    shown = all_of(caught.value).replace(str(caught.value.response_body), "")
    assert TOKEN not in shown
    assert (caught.value.status_code, caught.value.request_id) == (200, "r1")
    assert caught.value.operation == "get_endpoint"
    assert isinstance(caught.value, InvalidArgumentException)  # as in OpenSandbox's own SDK


@pytest.mark.parametrize(
    "domain",
    [SERVER, f"me:{TOKEN}@127.0.0.1:9", f"http://me:{TOKEN}@h:no", f"http://{TOKEN}@h\u2100"],
)
@pytest.mark.parametrize("through_httpx", [False, True])
def test_credentials_in_an_address_are_not_shown(
    domain: str, through_httpx: bool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    if through_httpx:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{TOKEN}@127.0.0.1:9")
    with caplog.at_level(logging.DEBUG), pytest.raises(SandboxException) as caught:
        SandboxSync.create("a", connection_config=ConnectionConfigSync(domain=domain, api_key=KEY))

    nothing_shows(all_of(caught.value), caplog.text)


def test_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    for value in (f"{TOKEN}\n", f"{TOKEN}\u2603"):
        config = ConnectionConfigSync(domain="h", headers={"X": value})
        with pytest.raises(InvalidArgumentException, match="'X'") as caught:
            SandboxSync.connect("a", connection_config=config)
        nothing_shows(all_of(caught.value))


def test_a_bad_field_is_named_without_its_value() -> None:
    with pytest.raises(InvalidArgumentException) as caught:
        SandboxImageAuth(username="", password=KEY)
    nothing_shows(all_of(caught.value))
    with pytest.raises(InvalidArgumentException) as nested:
        Credential(name="c", source={"value": [KEY]})  # type: ignore[arg-type]
    nothing_shows(all_of(nested.value))
    with pytest.raises(ValidationError) as refused:
        SandboxInfo.model_validate({"metadata": {"X": KEY}})
    nothing_shows(str(refused.value))


@pytest.mark.parametrize(
    "url", [f"ftp://me:{TOKEN}@p:1", f"http://me:{TOKEN}@p:no", "socks5://p:1"]
)
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(InvalidArgumentException, match="proxy") as caught:
        SandboxSync.connect("a", connection_config=ConnectionConfigSync(domain="h"))
    nothing_shows(all_of(caught.value))


# -- pickled errors --------------------------------------------------------------------------------


def test_every_exception_survives_a_pickle_without_what_it_came_from() -> None:
    request = httpx.Request("GET", "http://h", headers={"X": KEY})
    cause = httpx.ConnectError("no", request=request)
    errors = [
        SandboxApiException("m", status_code=404, request_id="r", operation="o", cause=cause),
        SandboxConnectionException("m", cause=cause, hint="h", is_retryable=True),
        UnsupportedOperationException("f", "p"),
        exceptions.CommandFailed("m", exit_code=3, tail="t"),
    ]
    for error in errors:
        kept = pickle.dumps(error)
        read = pickle.loads(kept)
        assert KEY.encode() not in kept
        assert (type(read), str(read), read.error) == (type(error), str(error), error.error)
        assert {**vars(read), "cause": None} == {**vars(error), "cause": None}


# -- the words themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://a:b@h/x@y", "http://***@h/x@y"),
        ("a:b@h", "***@h"),
        ("http://h/p?q=a@b", "http://h/p?q=a@b"),
        ("https://a@b:c@h", "https://***@h"),
        ("", ""),
    ],
)
def test_addresses(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


def test_masks_cover_json_and_urls_and_spare_short_words() -> None:
    assert masked('a "b" a%20%22b', ['a "b']) == '***" ***'
    assert masked(b"x=abcd", ["abcd", "x"]) == b"x=***"
