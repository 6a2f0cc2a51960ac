"""The proxy itself, on a real socket, with canaries on loopback and a resolver of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from egress_driving import Canary, Maker, Way, canary, get, rules, tunnel, way_out

from opensandbox_jupyter.egress.policy import OPEN


@pytest.fixture
async def there() -> AsyncIterator[Canary]:
    async with canary() as found:
        yield found


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    async with way_out(tmp_path, OPEN) as found:
        yield found


def test_the_canary_is_reached_when_a_rule_names_it(tmp_path: Path) -> None:
    """The control of everything below."""

    async def scenario() -> None:
        async with canary() as there, way_out(tmp_path, OPEN) as way:
            place = f"127.0.0.1:{there.port}"
            way.proxy.policy = rules(f"allow {place}")
            assert b"canary" in await way.say(get(place))
            reader, writer = await way.connect()
            writer.write(tunnel(place))
            assert b"200" in await reader.readline()
            assert await reader.readline() == b"\r\n"
            writer.write(b"GET /inner HTTP/1.1\r\n\r\n")
            assert b"canary" in await reader.readuntil(b"canary")
            writer.close()
            assert len(there.heard) == 2

    asyncio.run(scenario())


SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1",
    "017700000001", "0", "0.0.0.0", "127.0.0.1.", "127.255.255.254", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]", "127.0.0.1%00", "127.0.0.1%2e",
    "127%2e0.0.1", "%31%32%37.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "localhost%00.a.test",
    "127.0.0.1\x00.a.test", "169.254.169.254", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]",
    "169.254.43518", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fec0::1]", "user@127.0.0.1",
    "a.test@127.0.0.1", "a.test:80@127.0.0.1", "127.0.0.1#.a.test", "127.0.0.1\\.a.test", "",
    "a.test:80:80", "127.0.0.1:٨٠", "[127.0.0.1]", "localhost", "LocalHost.", "x.localhost",
]  # fmt: skip


@pytest.mark.parametrize("make", [get, tunnel])
@pytest.mark.parametrize("text", SPELLINGS, ids=ascii)
async def test_no_spelling_leads_home(way: Way, there: Canary, make: Maker, text: str) -> None:
    for name in ("localhost", "x.localhost"):
        way.names.answers[name] = [["127.0.0.1", "::1"]]
    usual = "443" if make is tunnel else "80"
    for port in (f":{usual}", f":{there.port}"):
        raw = make(f"{text}{port}".encode().decode("latin-1"))
        assert await way.status(raw) in {400, 403}, raw
    assert there.heard == []


@pytest.mark.parametrize(
    "answers",
    [
        [["93.184.216.34", "127.0.0.1"]],
        [["127.0.0.1", "93.184.216.34"]],
        [["::ffff:127.0.0.1"]],
        [["64:ff9b::7f00:1"]],
        [["2606:4700::1", "::1"]],
        [["0.0.0.0"]],
    ],
    ids=str,
)
async def test_names_that_lead_home(way: Way, there: Canary, answers: list) -> None:
    place = f"a.test:{there.port}"
    way.names.answers["a.test"] = answers
    way.proxy.policy = rules(f"allow {place}", default="allow")
    assert await way.status(get(place)) == 403
    assert await way.status(tunnel(place)) == 403
    assert there.heard == []


async def test_a_name_is_looked_up_once_and_that_address_is_dialled(
    way: Way, there: Canary
) -> None:
    """The second answer, which the judge never saw, would have been refused."""
    place = f"a.test:{there.port}"
    way.proxy.policy = rules(f"allow {place}", "allow 127.0.0.1")
    way.proxy.policy = rules(f"allow {place}", f"allow 127.0.0.1:{there.port}")
    for turn in range(50):
        way.names.answers["a.test"] = [["127.0.0.1"], ["127.0.0.2"]]
        way.names.asked.clear()
        assert b"canary" in await way.say(get(place, "Connection: close"))
        assert way.names.asked == ["a.test"]
        assert len(there.heard) == turn + 1


async def test_a_name_that_flips_never_leads_home(way: Way, there: Canary) -> None:
    """The flips come at every place of the sequence, and both before and after the judging."""
    place = f"a.test:{there.port}"
    way.proxy.policy = rules(f"allow {place}", f"allow 127.0.0.2:{there.port}")
    for turn in range(500):
        outside, home = ["127.0.0.2"], ["127.0.0.1"]
        way.names.answers["a.test"] = [home, outside] if turn % 2 else [outside, home]
        make = tunnel if turn % 4 > 1 else get
        # Nothing listens on 127.0.0.2, which stands for an address that may be reached.
        assert await way.status(make(place)) == (403 if turn % 2 else 502)
    assert there.heard == []

    way.proxy.policy = rules(f"allow {place}", f"allow 127.0.0.1:{there.port}")
    way.names.answers["a.test"] = [["127.0.0.1"]]
    assert await way.status(get(place, "Connection: close")) == 200


@pytest.mark.parametrize("port", [21, 22, 25, 3306, 6379, 8080])
async def test_a_name_opens_the_usual_port_only(way: Way, port: int) -> None:
    way.names.answers["a.test"] = [["127.0.0.1"]]
    for policy in (OPEN, rules("allow a.test", "allow 127.0.0.1")):
        way.proxy.policy = policy
        for make in (get, tunnel):
            assert await way.status(make(f"a.test:{port}")) == 403
    way.proxy.policy = rules(f"allow a.test:{port}", f"allow 127.0.0.1:{port}")
    assert await way.status(tunnel(f"a.test:{port}")) in {200, 502}  # whoever listens there


async def test_a_denied_name_is_not_even_looked_up(way: Way) -> None:
    way.proxy.policy = rules("allow b.test")
    assert await way.status(tunnel("secret-data.a.test:443")) == 403
    assert way.names.asked == []


async def test_what_is_judged_is_what_is_told(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    bad = [
        get(place, host="other.test"),
        get(place, f"Host: {place}"),
        get(place, host=f"user@{place}"),
        f"GET / HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
        f"GET //{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
        f"GET https://{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
        f"GET http://{place}/\r\n HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
        f"GET http://{place}/a b HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
        f"GET http://{place}/ HTTP/1.1\r\n\r\n".encode(),
        get(place, "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
        get(place, "Content-Length: 5", "Content-Length: 6") + b"12345",
        get(place, "X: a\rb"),
        get(place, "X: a\0b"),
        tunnel(place).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nabcde"),
        tunnel(f"http://{place}/"),
        tunnel("127.0.0.1"),
        tunnel(f"user@{place}"),
    ]
    for raw in bad:
        assert await way.status(raw) == 400, raw
    assert there.heard == []

    hop = ("Connection: x-mine", "X-Mine: 1", "Proxy-Authorization: secret", "X-Kept: 1")
    answer = await way.say(get(place, *hop, path="/path?q=1"))
    (heard,) = there.heard
    assert heard.startswith(b"GET /path?q=1 HTTP/1.1\r\n")
    assert f"\r\nHost: {place}\r\n".lower().encode() in heard.lower()
    assert b"x-kept" in heard.lower()
    assert b"x-mine" not in heard.lower()
    assert b"secret" not in heard
    assert b"x-end: 1" in answer.lower()
    assert b"x-hop" not in answer.lower()


async def test_each_request_of_a_connection_is_judged(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    answer = await way.say(get(place) + get(place) + get("10.0.0.1") + get(place))
    assert answer.count(b"canary") == 2
    assert answer.count(b"403") >= 1
    assert b"10.0.0.1:80 is denied" in answer
    assert len(there.heard) == 2


async def test_a_denial_says_how_to_allow(way: Way) -> None:
    way.proxy.policy = rules()
    answer = await way.say(tunnel("pypi.test:443"))
    line = answer.split(b"\r\n")[0]
    assert line.startswith(b"HTTP/1.1 403 Forbidden: pypi.test:443 is denied")
    assert b'{"action": "allow", "target": "pypi.test"}' in line
    answer = await way.say(tunnel("pypi.test:22"))
    assert b'"target": "pypi.test:22"' in answer


async def test_no_redirect_is_followed(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    assert b"302" in await way.say(get(place, path="/away"))
    assert len(there.heard) == 1


async def test_ports_of_the_server_are_never_opened(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    way.ours.add(there.port)
    for raw in (get(place), tunnel(place)):
        assert await way.status(raw) == 403
    assert there.heard == []


async def test_a_narrowed_policy_cuts_what_is_open(way: Way) -> None:
    async with canary() as one, canary() as other:
        wide = [f"allow 127.0.0.1:{there.port}" for there in (one, other)]
        way.proxy.policy = rules(*wide)
        ends = []
        for there in (one, other):
            reader, writer = await way.connect()
            writer.write(tunnel(f"127.0.0.1:{there.port}"))
            await reader.readuntil(b"\r\n\r\n")
            ends.append((reader, writer))

        way.proxy.policy = rules(wide[1])

        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(ends[0][0].readexactly(1), 10)
        ends[1][1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert await ends[1][0].readuntil(b"canary")
        assert one.heard == []
        for _, writer in ends:
            writer.close()


async def test_slow_clients_harm_nobody(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    slow = [await way.connect() for _ in range(200)]
    for _, writer in slow:
        writer.write(b"GET http://127.0.0.1/ HTTP/1.1\r\nX: ")
    assert b"canary" in await way.say(get(place))
    for reader, _ in slow[:3]:  # each of them ends by itself
        assert await asyncio.wait_for(reader.read(), 30) == b""
    for _, writer in slow:
        writer.close()


async def test_there_is_an_end_to_connections_and_heads(way: Way, there: Canary) -> None:
    place = f"127.0.0.1:{there.port}"
    way.proxy.policy = rules(f"allow {place}")
    assert await way.status(get(place, "X: " + "a" * (1 << 17))) == 431
    with contextlib.suppress(ConnectionError):  # it hangs up before it has read all of that
        assert await way.status(get(place, "X: " + "a" * (1 << 20))) == 431
    assert await way.status(get(place, "Connection: close")) == 200
    assert await way.status(get(place, *[f"X{n}: 1" for n in range(200)])) == 431
    held = [await way.connect() for _ in range(256)]
    for _, writer in held:
        writer.write(b"G")
    assert await way.status(get(place)) == 503
    for _, writer in held:
        writer.close()
    while await way.status(get(place)) != 200:
        await asyncio.sleep(0.01)


async def test_bodies_go_both_ways(way: Way) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"12345"
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(64):
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        way.proxy.policy = rules(f"allow {place}")
        answer = await way.say(get(place, "Content-Length: 5") + b"12345")
        assert answer.count(b"x") == 64 * 65_536
        assert answer.endswith(b"0\r\n\r\n")
