"""The way out of a real sandbox, with canaries of our own on loopback. No other address is met."""

from __future__ import annotations

import base64
import http.server
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from server_driving import (
    Box,
    Running,
    assert_nothing_left,
    body,
    create_box,
    start,
    wait_until,
)

TOKEN = "OPENSANDBOX-EGRESS-AUTH"
FETCH = "curl -sS -m 20 --noproxy '' -x http://127.0.0.1:3128 -o /dev/null -w '%{http_code}'"
TUNNEL = FETCH.replace("http_code", "http_connect") + " -p"
Create = Callable[..., Box]


class Canary(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "6")
        self.end_headers()
        self.wfile.write(b"canary")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def canary() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def allow(*targets: object, default: str = "deny") -> dict:
    egress = [{"action": "allow", "target": str(target)} for target in targets]
    return {"defaultAction": default, "egress": egress}


def fetch(box: Box, url: str, program: str = FETCH) -> str:
    """Return the status with which the proxy answers inside."""
    _, out, _ = box.run(f"{program} --globoff '{url}'")
    return out.strip()


def variables(box: Box) -> set[str]:
    names = box.output("env | cut -d= -f1").split()
    return {name for name in names if "proxy" in name.lower()}


def test_what_a_rule_names_is_reached(create: Create, canary: int) -> None:
    box = create(networkPolicy=allow(f"127.0.0.1:{canary}"))
    url = f"http://127.0.0.1:{canary}/"
    assert box.output(f"curl -sS --noproxy '' {url}") == "canary"
    assert box.output(f"curl -sS -p --noproxy '' {url}") == "canary"
    script = f"import urllib.request as u; print(u.urlopen('{url}').read())"
    assert (fetch(box, url), fetch(box, url, TUNNEL)) == ("200", "200")
    assert "canary" in box.output(f'NO_PROXY= no_proxy= python3 -c "{script}"')


@pytest.mark.parametrize("policy", [None, allow(), {}, allow("a.test")], ids=str)
def test_nothing_of_the_host_is_reached(
    server: Running, create: Create, canary: int, policy: dict | None
) -> None:
    other = create()
    with other.execd() as execd:
        ports = [canary, server.url.rpartition(":")[2], execd.base_url.port]
    box = create() if policy is None else create(networkPolicy=policy)
    for port in ports:
        for url in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
            assert fetch(box, url) == "403", url
            assert fetch(box, url, TUNNEL) == "403", url
    for url in ("http://169.254.169.254/", "http://[::ffff:127.0.0.1]/", "http://10.0.0.1/"):
        assert fetch(box, url) == "403", url


def test_the_servers_own_ports_stay_shut_even_for_a_rule(server: Running, create: Create) -> None:
    own = server.url.rpartition(":")[2]
    other = create()
    with other.execd() as execd:
        relay = execd.base_url.port
    box = create(networkPolicy=allow(f"127.0.0.1:{own}", f"127.0.0.0/8:{relay}"))
    assert fetch(box, f"http://127.0.0.1:{own}/health") == "403"
    assert fetch(box, f"http://127.0.0.1:{relay}/ping") == "403"


DIRECT = """
import errno, json, socket
found = {}
def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode.get(error.errno, str(error))
def send(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", address)
attempt("tcp", lambda: socket.create_connection(("192.0.2.1", 443)))
attempt("tcp6", lambda: socket.create_connection(("2001:db8::1", 443)))
attempt("udp", lambda: send(socket.AF_INET, ("192.0.2.1", 53)))
attempt("udp6", lambda: send(socket.AF_INET6, ("2001:db8::1", 53)))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
try:
    socket.getaddrinfo("a.test", 80)
    found["name"] = "done"
except socket.gaierror:
    found["name"] = "no"
found["devices"] = [name for _, name in socket.if_nameindex()]
found["routes"] = open("/proc/net/route").read().splitlines()[1:]
found["unix"] = [line.split()[7] for line in open("/proc/net/unix") if len(line.split()) > 7][1:]
print(json.dumps(found))
"""


def test_there_is_no_other_way(create: Create) -> None:
    box = create()
    code = base64.b64encode(DIRECT.encode()).decode()
    found = json.loads(box.output(f"echo {code} | base64 -d | python3 -"))
    assert found["devices"] == ["lo"]
    assert found["routes"] == []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        assert found[name] in {"ENETUNREACH", "EADDRNOTAVAIL"}, name
    assert found["raw"] == "EPERM"
    assert found["packet"] in {"EPERM", "EAFNOSUPPORT"}
    assert found["name"] == "no"
    assert found["unix"] == []


def test_the_proxy_is_shown_only_while_it_leads_somewhere(
    client: httpx.Client, create: Create
) -> None:
    shown = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    box = create(networkPolicy=allow())
    assert variables(box) == set()
    client.patch(
        f"/v1/sandboxes/{box.id}/networkpolicy", json=allow("a.test")["egress"]
    ).raise_for_status()
    assert variables(box) == shown
    client.put(f"/v1/sandboxes/{box.id}/networkpolicy", json={}).raise_for_status()
    assert variables(box) == set()
    assert variables(create()) == shown
    own = create(env={"HTTP_PROXY": "http://mine"})
    assert own.output("echo $HTTP_PROXY") == "http://mine"


def test_a_policy_changes_while_a_sandbox_runs(
    client: httpx.Client, create: Create, canary: int
) -> None:
    box = create(networkPolicy=allow())
    url, path = f"http://127.0.0.1:{canary}/", f"/v1/sandboxes/{box.id}/networkpolicy"
    assert fetch(box, url) == "403"
    client.patch(path, json=allow(f"127.0.0.1:{canary}")["egress"]).raise_for_status()
    assert fetch(box, url) == "200"

    script = (
        "import socket; s = socket.create_connection(('127.0.0.1', 3128));"
        f"s.send(b'CONNECT 127.0.0.1:{canary} HTTP/1.1\\r\\nHost: 127.0.0.1:{canary}\\r\\n\\r\\n');"
        "print(s.recv(99)); open('/tmp/open', 'w'); print(s.recv(99))"
    )
    box.output(f'nohup python3 -c "{script}" > /tmp/said 2>&1 &')
    assert wait_until(lambda: box.run("test -e /tmp/open")[0] == 0)
    answer = client.request("DELETE", path, json=[f"127.0.0.1:{canary}"])
    assert answer.json()["mode"] == "deny_all"
    assert wait_until(lambda: box.run("grep -e \"b''\" -e reset /tmp/said")[0] == 0)
    assert fetch(box, url) == "403"


def sidecar(client: httpx.Client, box: Box) -> httpx.Client:
    endpoint = client.get(f"/v1/sandboxes/{box.id}/endpoints/18080").json()
    return httpx.Client(base_url=f"http://{endpoint['endpoint']}", headers=endpoint["headers"])


def test_the_sidecar(client: httpx.Client, create: Create) -> None:
    box = create(networkPolicy=allow("a.test"))
    with sidecar(client, box) as side:
        assert side.get("/healthz").text == "ok"
        assert side.get("/policy").json()["policy"] == allow("a.test")
        rules = [{"action": "deny", "target": "A.test"}, {"action": "allow", "target": "b.test"}]
        changed = side.patch("/policy", json=rules)
        assert changed.json()["mode"] == "enforcing"
        assert "policy" not in changed.json()
        assert side.get("/policy").json()["policy"]["egress"] == rules
        gone = side.request("DELETE", "/policy", json=["a.TEST", "c.test"])
        assert "reason" not in gone.json()
        assert side.get("/policy").json()["policy"] == allow("b.test")
        assert "no matching" in side.request("DELETE", "/policy", json=["c"]).json()["reason"]
        assert side.put("/policy", json=allow(default="allow")).json()["mode"] == "allow_all"
        assert side.post("/policy").json()["mode"] == "deny_all"
        now = client.get(f"/v1/sandboxes/{box.id}/networkpolicy").json()
        assert side.get("/policy").json() == now


def test_the_sidecar_through_the_server_proxy(client: httpx.Client, create: Create) -> None:
    box, other = create(networkPolicy=allow("a.test")), create()
    box.output("mkdir -p /tmp/in; echo inside > /tmp/in/policy")
    box.output("cd /tmp/in; nohup python3 -m http.server 18080 >/dev/null 2>&1 &")
    assert wait_until(lambda: "inside" in box.run("curl -s http://127.0.0.1:18080/policy")[1])
    query = {"use_server_proxy": "true"}
    found = client.get(f"/v1/sandboxes/{box.id}/endpoints/18080", params=query).json()
    base = f"http://{found['endpoint']}"
    assert base.endswith(f"/v1/sandboxes/{box.id}/proxy/18080")
    headers = found["headers"]
    assert client.get(f"{base}/policy", headers=headers).json()["policy"] == allow("a.test")
    for place in (base, base.replace("/v1", "")):
        changed = client.put(f"{place}/policy", headers=headers, json=allow("b.test"))
        assert changed.json()["mode"] == "enforcing"
    key = dict(client.headers)
    foreign = client.get(f"/v1/sandboxes/{other.id}/endpoints/18080", params=query).json()
    opening = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    opening["sec-websocket-key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    for answer, status in (
        (client.get(f"{base}/policy"), 401),
        (client.get(f"{base}/policy", headers=foreign["headers"]), 401),
        (httpx.get(f"{base}/policy", headers=headers), 401),
        (client.get(f"{base}/", headers=headers), 404),
        (client.get(base, headers=headers), 404),
        (client.get(f"{base.replace('18080', '018080')}/else", headers=headers), 404),
        (client.get(f"{base.replace('18080', '0018080')}/policy", headers=headers), 400),
        (client.get(f"{base.replace('18080', '1808%30')}/policy", headers=headers), 404),
        (client.put(f"{base}/policy", headers=headers, content=b"[" * (2 << 20)), 413),
        (httpx.get(f"{base}/policy", headers={**key, **headers, **opening}), 404),
    ):
        assert answer.status_code == status, (answer.request.url, answer.text)
        assert "inside" not in answer.text
    assert client.get(f"{base}/policy", headers=headers).json()["policy"] == allow("b.test")


def spare_of(running: Running, known: set[str]) -> str:
    """Wait for a ready spare and return its id."""
    sockets = running.home / "opensandbox/run/sockets"
    base = running.home / "opensandbox/data/records.sqlite"

    def waiting() -> list[str]:
        found = sqlite3.connect(f"file:{base}?mode=ro", uri=True)
        try:
            records = [json.loads(row[0]) for row in found.execute("SELECT record FROM sandboxes")]
        finally:
            found.close()
        return [r["id"] for r in records if r["state"] == "Spare" and r.get("processes")]

    assert wait_until(lambda: set(waiting()) - known, 20)
    (found,) = set(waiting()) - known
    assert (sockets / found).exists() and (sockets / f"{found}.out").exists()
    return found


def test_a_claimed_spare_has_the_policy_that_was_asked_for(
    make_home: Callable[[int], Path], canary: int
) -> None:
    running = start(make_home(os.geteuid()), None, "--spares", "1")
    url = f"http://127.0.0.1:{canary}/"
    told = ["sh", "-c", "echo ${HTTP_PROXY:-none} > /tmp/told; exec sleep 1000"]
    sockets = running.home / "opensandbox/run/sockets"
    with running.client() as client:
        known: set[str] = set()
        wanted = [(allow(f"127.0.0.1:{canary}"), "200", True), (allow(), "403", False)]
        wanted += [(allow("a.test", default="allow"), "403", True)]
        for policy, status, is_shown in wanted:
            spare = spare_of(running, known)
            box = create_box(client, networkPolicy=policy, entrypoint=told)
            known.add(box.id)
            assert box.id == spare
            assert (fetch(box, url), fetch(box, url, TUNNEL)) == (status, status)
            assert bool(variables(box)) is is_shown
            shown = "http://127.0.0.1:3128" if is_shown else "none"
            assert wait_until(lambda: box.run("cat /tmp/told")[1].strip() == shown)  # noqa: B023
            with box.execd() as execd:
                session = execd.post("/session", json={}).json()["session_id"]
                run = execd.post(f"/session/{session}/run", json={"command": "env"})
                assert ("HTTP_PROXY=" in run.text) is is_shown
            with sidecar(client, box) as side:
                assert side.get("/policy").json()["policy"] == policy
                side.put("/policy", json=allow()).raise_for_status()
            assert fetch(box, url) == "403"
        for box_id in known:
            assert client.delete(f"/v1/sandboxes/{box_id}").status_code == 204
        spare = spare_of(running, known)
        assert {path.name for path in sockets.iterdir()} == {spare, f"{spare}.out"}
    running.stop()
    assert_nothing_left(running.home)


def test_what_the_sidecar_refuses(client: httpx.Client, create: Create) -> None:
    box, other = create(), create()
    rule = {"action": "deny", "target": "a.test"}
    with sidecar(client, box) as side, sidecar(client, other) as foreign:
        before = side.get("/policy").json()
        for answer, status in (
            (side.put("/policy", content=b"{"), 400),
            (side.patch("/policy", json=[]), 400),
            (side.patch("/policy", json=[{"action": "allow", "target": "127.1"}]), 400),
            (side.request("DELETE", "/policy", json=[5]), 400),
            (side.put("/policy", json={"egress": [rule] * 4097}), 413),
            (side.request("OPTIONS", "/policy"), 405),
            (side.get("/else"), 404),
            (side.get("/credential-vault"), 404),
            (side.get("/policy", headers={TOKEN: "wrong"}), 401),
            (side.get("/policy", headers={TOKEN: foreign.headers[TOKEN]}), 401),
            (httpx.put(f"{side.base_url}policy", json={}), 401),
            (httpx.get(f"{client.base_url}/egress/none/policy", headers={TOKEN: ""}), 401),
        ):
            assert answer.status_code == status, (answer.request.method, answer.text)
            assert answer.headers["content-type"].startswith("text/plain")
        assert side.get("/policy").json() == before
        assert before["policy"] == {"defaultAction": "allow", "egress": []}
    path = f"/v1/sandboxes/{box.id}/networkpolicy"
    bad = client.put(path, json={"defaultAction": "perhaps"})
    assert (bad.status_code, bad.json()["code"]) == (400, "SANDBOX::INVALID_PARAMETER")
    assert client.get("/v1/sandboxes/none/networkpolicy").status_code == 404
    assert httpx.get(f"{client.base_url}{path}").status_code == 401


def test_a_policy_outlives_the_server_and_a_broken_one_denies(
    make_home: Callable[[int], Path], canary: int
) -> None:
    home = make_home(os.geteuid())
    first = start(home)
    with first.client() as client:
        boxes = [
            Box(client, client.post("/v1/sandboxes", json=wanted).json())
            for wanted in [body(networkPolicy=allow(f"127.0.0.1:{canary}"))] * 2
        ]
    first.stop()
    base = sqlite3.connect(home / "opensandbox/data/records.sqlite")
    (text,) = base.execute("SELECT record FROM sandboxes WHERE id = ?", (boxes[1].id,)).fetchone()
    record = json.loads(text)
    record["network_policy"]["defaultAction"] = "broken"
    changed = json.dumps(record).encode()
    base.execute("UPDATE sandboxes SET record = ? WHERE id = ?", (changed, boxes[1].id))
    base.commit()
    base.close()

    again = start(home)
    with again.client() as client:
        whole, broken = (Box(client, box.info) for box in boxes)
        assert fetch(whole, f"http://127.0.0.1:{canary}/") == "200"
        assert fetch(broken, f"http://127.0.0.1:{canary}/") == "403"
        path = f"/v1/sandboxes/{broken.id}/networkpolicy"
        assert client.get(path).json()["mode"] == "deny_all"
        for box in (whole, broken):
            client.delete(f"/v1/sandboxes/{box.id}")
    again.stop()


def test_no_way_out_is_left_behind(server: Running, client: httpx.Client, create: Create) -> None:
    box = create()
    sockets = server.home / "opensandbox/run/sockets"
    assert len(list(sockets.iterdir())) == 2
    assert client.delete(f"/v1/sandboxes/{box.id}").status_code == 204
    assert list(sockets.iterdir()) == []


def test_the_proxy_does_not_speak_to_itself(create: Create) -> None:
    box = create(networkPolicy=allow("127.0.0.1:3128"))
    with socket.socket() as free:  # nothing of the host shall listen there while we ask
        try:
            free.bind(("127.0.0.1", 3128))
        except OSError:
            pytest.skip("something on this machine uses port 3128")
        assert fetch(box, "http://127.0.0.1:3128/") == "502"
