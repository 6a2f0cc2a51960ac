"""Credentials: put into the requests that are meant, by the proxy, and into no other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from egress_driving import Canary, Names, rules

from opensandbox_jupyter.egress.judge import Judge
from opensandbox_jupyter.egress.proxy import Keeper, Proxy
from opensandbox_jupyter.egress.tls import Authority
from opensandbox_jupyter.egress.vault import Conflict, Missing, Vault

SECRET = "s3cret-value"


def filled(**auth: object) -> bytes:
    hosts = ["api.test", "*.wild.test"]
    match = {"hosts": hosts, "schemes": ["http", "https"], "ports": [80, 443, PORT]}
    return json.dumps(
        {
            "credentials": [{"name": "key", "source": {"type": "inline", "value": SECRET}}],
            "bindings": [{"name": "b", "match": {**match, "paths": ["/v1/*"]}, "auth": auth}],
        }
    ).encode()


BEARER = {"type": "bearer", "credential": "key"}
PORT = 0


class Echo(Canary):
    """Answers with all that it was asked, body included."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        size = int(line.split(b":")[1])
                said = head + await reader.readexactly(size)
                self.heard.append(said)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
                await writer.drain()
        writer.close()


class Scene:
    """A proxy with a vault, and a server behind it."""

    def __init__(self, proxy: Proxy, path: str, echo: Echo, keeper: Keeper) -> None:
        self.proxy, self.path, self.echo, self.keeper = proxy, path, echo, keeper
        self.vault = keeper.vault

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.keeper.authority.certificate.decode())

    async def http(self, host: str, path: str = "/v1/x", *more: str, body: str = "") -> str:
        method = "POST" if body else "GET"
        lines = [f"{method} http://{host}:{self.echo.port}{path} HTTP/1.1", "connection: close"]
        lines += [f"host: {host}:{self.echo.port}", *more]
        if body:
            lines.append(f"content-length: {len(body)}")
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write("\r\n".join([*lines, "", body]).encode())
        try:
            return (await asyncio.wait_for(reader.read(-1), 10)).decode()
        finally:
            writer.close()

    async def https(
        self, host: str, path: str = "/v1/x", context: ssl.SSLContext | None = None
    ) -> str:
        """Ask through a tunnel, as a client of TLS."""
        return await asyncio.to_thread(self._https, host, path, context or self.trusting())

    def _https(self, host: str, path: str, context: ssl.SSLContext) -> str:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(10)
            plain.connect(self.path)
            place = f"{host}:{self.echo.port}"
            plain.sendall(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += plain.recv(1)
            if b" 200 " not in head:
                return head.decode()
            with context.wrap_socket(plain, server_hostname=host) as tls:
                tls.sendall(
                    f"GET {path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n".encode()
                )
                said = b""
                with contextlib.suppress(OSError):
                    while data := tls.recv(65536):
                        said += data
                return said.decode()


@contextlib.asynccontextmanager
async def staged(tmp_path: Path, *, tls: bool) -> AsyncIterator[Scene]:
    """Everything of one test; the server's own certificate is signed by an authority apart."""
    global PORT
    world, echo, names = Authority(), Echo(), Names()
    context = world.context_for("api.test") if tls else None
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0, ssl=context)
    echo.port = PORT = server.sockets[0].getsockname()[1]
    upstream = ssl.create_default_context(cadata=world.certificate.decode())
    keeper = Keeper(Vault(), Authority(), upstream)
    targets = ["api.test", "a.wild.test", "other.test", "127.0.0.1"]
    policy = rules(*(f"allow {target}:{echo.port}" for target in targets))
    for name in targets[:3]:
        names.answers[name] = [["127.0.0.1"]]
    proxy = Proxy(Judge(names, lambda _: False), policy, keeper)
    await proxy.start(str(tmp_path / "out"))
    try:
        yield Scene(proxy, str(tmp_path / "out"), echo, keeper)
    finally:
        await proxy.close()
        server.close()


async def test_only_what_is_meant_carries_a_credential(tmp_path: Path) -> None:
    async with staged(tmp_path, tls=False) as scene:
        control = await scene.http("api.test")
        assert "200 OK" in control
        assert SECRET not in control
        scene.vault.create(filled(**BEARER))
        assert f"authorization: Bearer {SECRET}" in await scene.http("api.test")
        assert SECRET in await scene.http("a.wild.test")
        forged = await scene.http("api.test", "/v1/x", "Authorization: Bearer mine")
        assert "mine" not in forged
        for said in (
            await scene.http("other.test"),
            await scene.http("api.test", "/v2/x"),
            await scene.http("127.0.0.1"),
            await scene.http("api.test", "/v1/../v2?/v1/"),
        ):
            assert "200 OK" in said or "400" in said
            assert SECRET not in said
        scene.vault.delete()
        assert SECRET not in await scene.http("api.test")


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "basic", "credential": "key"}, f"authorization: Basic {SECRET}"),
        ({"type": "apiKey", "name": "X-Api-Key", "credential": "key"}, f"x-api-key: {SECRET}"),
        (
            {"type": "customHeaders", "headers": [{"name": "X-One", "credential": "key"}]},
            f"x-one: {SECRET}",
        ),
        ({"type": "passthrough"}, "authorization: mine"),
    ],
)
async def test_every_kind(tmp_path: Path, auth: dict, header: str) -> None:
    async with staged(tmp_path, tls=False) as scene:
        scene.vault.create(filled(**auth))
        assert header in await scene.http("api.test", "/v1/x", "authorization: mine")


async def test_placeholders(tmp_path: Path) -> None:
    places = ["path", "query", "header", "body"]
    substitution = {"credential": "key", "placeholder": "{{KEY}}", "in": places}
    async with staged(tmp_path, tls=False) as scene:
        scene.vault.create(filled(type="passthrough", substitutions=[substitution]))
        said = await scene.http(
            "api.test", "/v1/{{KEY}}?k={{KEY}}", "x-mine: a {{KEY}}", body='{"k": "{{KEY}}"}'
        )
        assert f"POST /v1/{SECRET}?k={SECRET} HTTP/1.1" in said
        assert f"x-mine: a {SECRET}" in said
        assert f'{{"k": "{SECRET}"}}' in said
        assert "{{KEY}}" not in said
        scene.echo.heard.clear()
        with contextlib.suppress(ConnectionError):  # it hangs up in the middle of the body
            assert " 413 " in (await scene.http("api.test", body="x" * (2 << 20))).splitlines()[0]
        assert scene.echo.heard == []


async def test_a_short_placeholder_makes_no_long_request(tmp_path: Path) -> None:
    places = ["path", "query", "header", "body"]
    one = {"credential": "key", "placeholder": "1234", "in": places}
    async with staged(tmp_path, tls=False) as scene:
        scene.vault.create(filled(type="passthrough", substitutions=[one]))
        answer = await scene.http("api.test", body="x" * 1234)
        assert "content-length: 1234" in answer.lower()
        value = {"name": "key", "source": {"type": "inline", "value": "S" * 60_000}}
        scene.vault.mutate(json.dumps({"credentials": {"replace": [value]}}).encode())
        many = "1234" * 20
        assert " 413 " in await scene.http("api.test", body=many)
        assert " 413 " in await scene.http("api.test", f"/v1/{many}")
        assert " 413 " in await scene.http("api.test", f"/v1/?{many}")
        assert " 413 " in await scene.http("api.test", "/v1/x", f"x-a: {many}")
        apart = [f"x-{number}: 1234" for number in range(8)]
        assert " 431 " in await scene.http("api.test", "/v1/x", *apart)
        assert len(scene.echo.heard) == 1


async def test_a_tunnel_of_another_name_is_cut_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged(tmp_path, tls=True) as scene:
        scene.vault.create(filled(**BEARER))
        reader, writer = await asyncio.open_unix_connection(scene.path)
        place = f"api.test:{scene.echo.port}"
        writer.write(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        outgoing = ssl.MemoryBIO()
        other = scene.trusting().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test")
        with pytest.raises(ssl.SSLWantReadError):
            other.do_handshake()
        writer.write(outgoing.read())
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"\x15\x03")
        writer.close()
        assert caplog.records == []


async def test_a_path_with_two_readings_carries_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, tls=False) as scene:
        scene.vault.create(filled(**BEARER))
        for path in ("/v1/../x", "/v1/..;/x", "/v1/..;a=b/x", "/v1/%2e%2e%3b/x", "/v1/..%2fx"):
            assert SECRET not in await scene.http("api.test", path), path
        assert SECRET in await scene.http("api.test")


async def test_tls_ends_here_for_the_hosts_of_a_vault_alone(tmp_path: Path) -> None:
    async with staged(tmp_path, tls=True) as scene:
        with pytest.raises(ssl.SSLCertVerificationError):
            await scene.https("api.test")  # without a vault it is the server's own certificate
        scene.vault.create(filled(**BEARER))
        said = await scene.https("api.test")
        assert f"authorization: Bearer {SECRET}" in said
        assert f"host: api.test:{scene.echo.port}" in said
        assert SECRET not in await scene.https("api.test", "/v2/x")
        with pytest.raises(ssl.SSLCertVerificationError):
            await scene.https("other.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            await scene.https("api.test", context=ssl.create_default_context())


async def test_a_server_that_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, tls=True) as scene:
        scene.vault.create(filled(**BEARER))
        said = await scene.https("a.wild.test")  # its certificate is for another name
        assert " 502 " in said.splitlines()[0]
        assert "not trusted" in said
        assert scene.echo.heard == []


async def test_a_denied_host_stays_denied(tmp_path: Path) -> None:
    async with staged(tmp_path, tls=True) as scene:
        scene.vault.create(filled(**BEARER))
        scene.proxy.policy = rules()
        assert " 403 " in (await scene.https("api.test")).splitlines()[0]
        assert scene.echo.heard == []


def test_a_vault_is_changed_all_or_nothing() -> None:
    vault = Vault()
    with pytest.raises(Missing):
        vault.state()
    vault.create(filled(**BEARER))
    first = vault.state()
    assert first["revision"] == 1
    assert SECRET not in json.dumps(first)
    assert SECRET not in repr(vault)
    assert first["credentials"] == [{"name": "key", "sourceType": "inline", "revision": 1}]
    with pytest.raises(Conflict):
        vault.create(filled(**BEARER))
    changes: list[tuple[dict, type[Exception]]] = [
        ({"expectedRevision": 7}, Conflict),
        ({"credentials": {"delete": ["key"]}}, ValueError),
        ({"credentials": {"replace": [{"name": "x", "source": {"value": "v"}}]}}, Missing),
        ({"bindings": {"delete": ["nothing"]}}, Missing),
        ({"unknown": 1}, ValueError),
    ]
    for change, error in changes:
        with pytest.raises(error):
            vault.mutate(json.dumps(change).encode())
        assert vault.state() == first
    new = {"credentials": {"replace": [{"name": "key", "source": {"value": "other"}}]}}
    vault.mutate(json.dumps({"expectedRevision": 1, **new}).encode())
    assert vault.credential("key")["revision"] == 2
    assert vault.binding("b")["auth"] == {"type": "bearer"}
    assert vault.value("key") == "other"
    vault.delete()
    with pytest.raises(Missing):
        vault.credentials()


BAD: list[Callable[[dict], object]] = [
    lambda d: d["bindings"][0]["match"].update(hosts=[]),
    lambda d: d["bindings"][0]["match"].update(hosts=["not a host"]),
    lambda d: d["bindings"][0]["match"].update(hosts=["*.com"]),
    lambda d: d["bindings"][0]["auth"].update(credential="absent"),
    lambda d: d["bindings"][0]["auth"].update(type="apiKey", name="Host"),
    lambda d: d["bindings"][0]["auth"].update(type="apiKey", name="a\r\nb"),
    lambda d: d["bindings"][0]["auth"].update(type="magic"),
    lambda d: d["credentials"][0]["source"].update(value="a\r\nX: b"),
    lambda d: d["credentials"][0]["source"].update(value=""),
    lambda d: d["credentials"].append(d["credentials"][0]),
    lambda d: d.update(more=1),
]


@pytest.mark.parametrize("spoil", BAD)
def test_what_is_no_vault(spoil: Callable[[dict], object]) -> None:
    document = json.loads(filled(**BEARER))
    spoil(document)
    vault = Vault()
    with pytest.raises(ValueError) as caught:
        vault.create(json.dumps(document).encode())
    assert SECRET not in str(caught.value)
    with pytest.raises(Missing):
        vault.state()
