"""What is judged, as tables; nothing here is ever dialled."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from opensandbox_jupyter.egress.addresses import is_dialable, is_public
from opensandbox_jupyter.egress.names import Unreadable, canonical_host, parse_authority
from opensandbox_jupyter.egress.policy import Destination, NetworkPolicy, TooManyRules, load

PUBLIC = "93.184.216.34"
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "100::1",
    "2001:db8::1", "3fff::1", "5f00::1", "2001:2::1", "64:ff9b:1::a00:1", "64:ff9b:1::5db8:d822",
]  # fmt: skip


def wrappings(address: str) -> dict[str, str]:
    """Every address that may lead to an IPv4 one."""
    four = int(ip_address(address))
    return {
        "mapped": f"::ffff:{address}",
        "compatible": f"::{address}",
        "translated": f"::ffff:0:{address}",
        "NAT64": f"64:ff9b::{address}",
        "6to4": f"2002:{four >> 16:x}:{four & 0xFFFF:x}::1",
        "Teredo client": str(
            ip_address((0x20010000 << 96) | (0x5DB8D822 << 64) | (four ^ 0xFFFFFFFF))
        ),
        "Teredo server": str(
            ip_address((0x20010000 << 96) | (four << 64) | (0x5DB8D822 ^ 0xFFFFFFFF))
        ),
        "ISATAP": str(ip_address((0x2606470000000000 << 64) | (0x5EFE << 32) | four)),
    }


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_the_internet(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("kind", list(wrappings(PUBLIC)))
@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1"])
def test_a_transition_address_is_what_it_wraps(kind: str, text: str) -> None:
    assert not is_public(ip_address(wrappings(text)[kind]))
    assert is_public(ip_address(wrappings(PUBLIC)[kind]))


@pytest.mark.parametrize("text", [PUBLIC, "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_what_is_the_internet(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.0.0.1", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:0.0.0.0"],
)
def test_what_no_rule_can_open(text: str) -> None:
    assert not is_dialable(ip_address(text))
    assert not load({"egress": [{"action": "allow", "target": text}]}).allows(
        Destination(ip_address(text), 80, 80), ip_address(text)
    )


@pytest.mark.parametrize(
    "text",
    [
        "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "0177.0.0.1",
        "0177.1", "127.0.0.01", "127.0.0.1..", "1.2.3.4.5", "256.1.1.1", "", ".", "a..b", "-a.b",
        "a-.b", "a%00.b", "a\0.b", "localhost%2e", "a b", "a@b", "①②⑦.⓪.⓪.①", "127。0。0。1",
        "\uff11\uff12\uff17.0.0.1", "[127.0.0.1]", "[::1", "::1]", "[::1%25lo]", "[fe80::1%lo]",
        "::1", "a" * 64, ".".join(["a" * 60] * 5), "a/b", "a\\b", "a#b", "a?b", "*.a", "0x",
        "a.0x7f",
    ],
)  # fmt: skip
def test_odd_spellings_are_no_hosts(text: str) -> None:
    try:
        host = canonical_host(text)
    except Unreadable:
        return
    assert not isinstance(host, str)  # what IDNA turns into an address is that address
    assert not is_public(host)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("EXAMPLE.Test.", "example.test"),
        ("Bücher.test", "xn--bcher-kva.test"),
        ("XN--BCHER-KVA.test", "xn--bcher-kva.test"),
        ("a_b.test", "a_b.test"),
        ("127.0.0.1.", ip_address("127.0.0.1")),
        ("[::FFFF:127.0.0.1]", ip_address("127.0.0.1")),
        ("[0:0::1]", ip_address("::1")),
    ],
)
def test_one_spelling_of_each_host(text: str, host: object) -> None:
    assert canonical_host(text) == host


@pytest.mark.parametrize(
    "text", ["a:", "a:0", "a:65536", "a:+80", "a:8 0", "a:80:80", "a:0x50", "a:٣", "a"]
)
def test_odd_ports(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_authority(text, None)


def decide(policy: NetworkPolicy, host: str, port: int = 443, address: str = PUBLIC) -> bool:
    return policy.allows(Destination(canonical_host(host), port, 443), ip_address(address))


def rules(*pairs: str, default: str = "deny") -> NetworkPolicy:
    egress = [dict(zip(("action", "target"), pair.split(), strict=True)) for pair in pairs]
    return load({"defaultAction": default, "egress": egress})


def test_a_wildcard_is_for_what_is_below() -> None:
    policy = rules("allow *.a.test")
    assert decide(policy, "b.a.test")
    assert decide(policy, "C.B.A.TEST.")
    for host in ("a.test", "xa.test", "a.test.evil", "b.a.test.evil"):
        assert not decide(policy, host), host
    assert decide(rules("allow *.BÜCHER.test"), "x.xn--bcher-kva.test")


def test_the_first_rule_wins() -> None:
    assert not decide(rules("deny x.a.test", "allow *.a.test"), "x.a.test")
    assert decide(rules("allow *.a.test", "deny x.a.test"), "x.a.test")
    assert not decide(rules("deny a.test", default="allow"), "a.test")
    assert decide(rules("deny a.test", default="allow"), "b.test")
    assert not decide(rules("deny 93.184.0.0/16", default="allow"), "b.test")
    assert not decide(
        rules("deny 93.184.0.0/16", default="allow"),
        wrappings(PUBLIC)["NAT64"].join("[]"),
        address=wrappings(PUBLIC)["NAT64"],
    )


def test_ports_are_opened_by_rules_that_name_them() -> None:
    assert not decide(rules(default="allow"), "a.test", 22)
    assert not decide(rules("allow a.test"), "a.test", 6379)
    assert not decide(rules("allow a.test:8443"), "a.test", 443)
    assert decide(rules("allow a.test:8443"), "a.test", 8443)
    assert decide(rules("allow [2606:4700::1]:22"), "[2606:4700::1]", 22, "2606:4700::1")
    assert not decide(rules("deny a.test", default="allow"), "a.test", 22)


def test_private_addresses_are_opened_by_rules_that_name_them() -> None:
    private = "10.1.2.3"
    assert not decide(rules(default="allow"), private, address=private)
    assert not decide(rules("allow a.test"), "a.test", address=private)
    assert not decide(rules("allow 0.0.0.0/0"), private, address=private)
    assert decide(rules("allow 0.0.0.0/0"), PUBLIC)
    assert decide(rules("allow 10.0.0.0/8"), private, address=private)
    assert decide(rules("allow 10.0.0.0/8"), "a.test", address=private)
    assert decide(rules("allow a.test", "allow 10.1.2.3"), "a.test", address=private)
    assert not decide(rules("deny 10.1.0.0/16", "allow 10.0.0.0/8"), private, address=private)
    assert not decide(
        rules("allow a.test", "deny 10.1.2.3", "allow 10.0.0.0/8"), "a.test", address=private
    )


@pytest.mark.parametrize(
    "document",
    [
        5, [], "deny", {"defaultAction": "maybe"}, {"egress": "*"},
        {"egress": [{"action": "allow"}]},
        {"egress": [{"action": "allow", "target": 5}]},
        *(
            {"egress": [{"action": "allow", "target": target}]}
            for target in ("", "*", "127.1", "0x7f.1", "http://a", "a.test/x", "a:b", "10.0.0.0/99",
                           "a..b", "*.*.a", "[::1")
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_policy(document: object) -> None:
    with pytest.raises(Unreadable):
        load(document)


def test_nothing_allows_nothing() -> None:
    for document in (None, {}, {"egress": []}, {"egress": None, "defaultAction": None}):
        policy = load(document)
        assert policy.mode == "deny_all"
        assert not decide(policy, "a.test")
    assert rules(default="allow").mode == "allow_all"
    assert rules("deny a.test").mode == "deny_all"
    assert rules("allow a.test").mode == "enforcing"


def test_a_policy_has_an_end() -> None:
    rule = {"action": "deny", "target": "a.test"}
    assert len(load({"egress": [rule] * 4096}).egress) == 4096
    with pytest.raises(TooManyRules):
        load({"egress": [rule] * 4097})
