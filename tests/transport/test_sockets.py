"""WebSockets to servers that misbehave, in both colours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from both_colours import Colour
from rude import RudeServer, always, once

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
)
from opensandbox_jupyter.wire.base import Call, Origin

Rude = Callable[..., RudeServer]


def knock(url: str) -> Call:
    return Call("attach_pty", Origin(url, {"X-Secret": "key"}), "GET", "/ws", [("since", "0")])


async def test_a_refusal_says_why(client: Colour, rude: Rude) -> None:
    body = b'{"code":"ALREADY_CONNECTED","message":"busy"}'
    server = rude(
        always(b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    )

    with pytest.raises(SandboxApiException, match="attach pty failed with status 409") as caught:
        await client.connect(knock(server.url))

    assert caught.value.status_code == 409
    assert b"GET /ws?since=0 " in server.requests[0]
    assert b"x-secret: key" in server.requests[0].lower()


async def test_no_key_is_logged_or_quoted(
    client: Colour, rude: Rude, caplog: pytest.LogCaptureFixture
) -> None:
    answer = b"HTTP/1.1 400 Bad\r\nContent-Length: 14\r\n\r\nwho has my key"
    call = Call("attach_pty", Origin(rude(always(answer)).url, {"X-Token": "my key"}), "GET", "/ws")

    with (
        caplog.at_level("DEBUG"),
        pytest.raises(SandboxApiException, match=r"who has \*\*\*") as error,
    ):
        await client.connect(call)

    assert "my key" not in caplog.text + str(error.value.response_body)


async def test_a_proxy_that_cannot_be_used_is_one_sentence(
    client: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    for proxy in ("ftp://me:password@p:1", "socks5://me:password@p:1"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(SandboxException, match="proxy") as caught:
            await client.connect(knock("http://far.example"))
        assert "password" not in str(caught.value.__cause__) + str(caught.value)


async def test_no_key_goes_where_an_answer_points(client: Colour, rude: Rude) -> None:
    elsewhere = rude(once(b""))
    place = elsewhere.url.replace("http", "ws").encode()
    answer = b"HTTP/1.1 302 Found\r\nLocation: %b/x\r\nContent-Length: 0\r\n\r\n" % place

    with pytest.raises(SandboxApiException) as caught:
        await client.connect(knock(rude(always(answer)).url))

    assert caught.value.status_code == 302
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:40]),
)
async def test_what_is_no_websocket_is_an_error_of_ours(
    client: Colour, rude: Rude, answer: bytes
) -> None:
    with pytest.raises(SandboxException, match="attach pty"):
        await client.connect(knock(rude(once(answer)).url))


async def test_nobody_there_and_no_address(client: Colour, rude: Rude) -> None:
    server = rude(once(b""))
    server.close()

    with pytest.raises(SandboxConnectionException, match="nothing answers"):
        await client.connect(knock(server.url))
    with pytest.raises(InvalidArgumentException, match="address"):
        await client.connect(knock("ftp://x"))


async def test_silence_is_given_up(hasty: Colour, rude: Rude) -> None:
    with pytest.raises(SandboxException, match="attach pty"):
        await hasty.connect(knock(rude(once(linger=True)).url))
