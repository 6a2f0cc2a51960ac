"""The credential vault of a real sandbox: what its programs send arrives with the credential,
and nothing inside ever holds it.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import server_driving
from server_driving import Box, Running, create_box, start

from opensandbox_jupyter.egress.tls import Authority

SECRET = "s3cret-value-of-the-host"
POLICY = {"defaultAction": "deny"}
LOOK = f"""
import glob, os
secret, found = {SECRET[::-1]!r}[::-1].encode(), []
paths = glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline")
for top in ("/etc", "/workspace", "/tmp", "/root", "/opt"):
    paths += [os.path.join(at, name) for at, _, names in os.walk(top) for name in names]
for path in paths:
    try:
        with open(path, "rb") as file:
            found += [path] if secret in file.read(1 << 24) else []
    except OSError:
        pass
print(found)
"""


class Heard(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[int, bytes]]:
    """A server of https called localhost, and the certificate that vouches for it."""
    world = Authority()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Heard) as server:
        server.socket = world.context_for("localhost").wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], world.certificate
        server.shutdown()


@pytest.fixture(scope="module")
def running(make_home: Callable[[int], Path], outside: tuple[int, bytes]) -> Iterator[Running]:
    """A server that trusts the world of this test."""
    home = make_home(os.geteuid())
    trusted = home / "trusted.pem"
    trusted.write_bytes(outside[1])
    plain = server_driving.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            server_driving,
            "environment",
            lambda at, uid: plain(at, uid) | {"SSL_CERT_FILE": str(trusted)},
        )
        found = start(home)
    yield found
    found.stop()


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


def sidecar(client: httpx.Client, box: Box) -> httpx.Client:
    endpoint = client.get(f"/v1/sandboxes/{box.id}/endpoints/18080").json()
    return httpx.Client(base_url=f"http://{endpoint['endpoint']}", headers=endpoint["headers"])


def vault(port: int) -> dict:
    return {
        "credentials": [{"name": "key", "source": {"type": "inline", "value": SECRET}}],
        "bindings": [
            {
                "name": "mine",
                "match": {"hosts": ["localhost"], "ports": [port]},
                "auth": {"type": "bearer", "credential": "key"},
            }
        ],
    }


def test_a_credential_arrives_and_is_nowhere_inside(
    client: httpx.Client, outside: tuple[int, bytes], running: Running
) -> None:
    port, _ = outside
    rules = [{"action": "allow", "target": f"{host}:{port}"} for host in ("localhost", "127.0.0.1")]
    policy = {**POLICY, "egress": rules}
    box = create_box(client, networkPolicy=policy, credentialProxy={"enabled": True})
    with sidecar(client, box) as side:
        ask = f"NO_PROXY= no_proxy= curl -sS https://localhost:{port}/v1/x"
        assert SECRET not in box.output(ask)
        made = side.post("/credential-vault", json=vault(port))
        assert made.status_code == 201, made.text
        assert made.json()["revision"] == 1

        heard = json.loads(box.output(ask))
        assert heard["headers"]["authorization"] == f"Bearer {SECRET}"
        code = (
            "import os, urllib.request as u; os.environ.pop('no_proxy', 0);"
            "os.environ.pop('NO_PROXY', 0);"
            f"print(u.urlopen('https://localhost:{port}/v1/y').read().decode())"
        )
        assert SECRET in box.output(f'python3 -c "{code}"')

        assert box.output(f"cat > /tmp/look.py <<'END'\n{LOOK}\nEND\npython3 /tmp/look.py") == "[]"
        assert (
            b"PRIVATE"
            not in box.execd()
            .get("/files/download", params={"path": "/opt/opensandbox/certificates.pem"})
            .content
        )
        for path in (running.home / "opensandbox").rglob("*"):
            if path.is_file() and path.stat().st_size < 10 << 20:
                assert SECRET.encode() not in path.read_bytes(), path

        listed = side.get("/credential-vault/credentials").json()
        assert listed["credentials"] == [{"name": "key", "sourceType": "inline", "revision": 1}]
        assert side.get("/credential-vault/bindings/mine").json()["auth"] == {"type": "bearer"}
        change = {"expectedRevision": 1, "bindings": {"delete": ["mine"]}}
        assert side.patch("/credential-vault", json=change).json()["revision"] == 2
        assert side.patch("/credential-vault", json=change).status_code == 409
        assert SECRET not in box.output(ask)
        assert side.delete("/credential-vault").status_code == 204
        assert side.get("/credential-vault").status_code == 404


def test_who_may_have_a_vault(client: httpx.Client) -> None:
    enabled = {"credentialProxy": {"enabled": True}}
    answer = client.post("/v1/sandboxes", json=server_driving.body(**enabled))
    assert (answer.status_code, "networkPolicy" in answer.json()["message"]) == (400, True)
    plain = create_box(client, networkPolicy=POLICY)
    with sidecar(client, plain) as side:
        assert side.get("/credential-vault").status_code == 404
        assert side.post("/credential-vault", json=vault(1)).status_code == 412
    box = create_box(client, networkPolicy=POLICY, **enabled)
    with sidecar(client, box) as side:
        assert side.get("/credential-vault").status_code == 404
        assert side.post("/credential-vault", json={"credentials": 1}).status_code == 400
        assert side.put("/credential-vault", json={}).status_code == 405
        assert side.get("/credential-vault/other").status_code == 404
        side.headers.clear()
        assert side.get("/credential-vault").status_code == 401


def test_after_a_restart_a_vault_is_empty(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    first = start(home)
    with first.client() as client:
        box = create_box(client, networkPolicy=POLICY, credentialProxy={"enabled": True})
        with sidecar(client, box) as side:
            assert side.post("/credential-vault", json=vault(443)).status_code == 201
    first.stop()
    second = start(home)
    with second.client() as client, sidecar(client, box) as side:
        assert side.get("/credential-vault").status_code == 404
        assert side.post("/credential-vault", json=vault(443)).status_code == 201
        ask = "python3 -c 'import ssl; ssl.create_default_context()'"
        assert Box(client, box.info).run(ask)[0] == 0
    second.stop()
