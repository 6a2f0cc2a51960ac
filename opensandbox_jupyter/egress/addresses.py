"""Which addresses are the public internet's.

The tables are our own, because those of :mod:`ipaddress` differ from one Python to the next.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Address", "is_dialable", "is_public", "parse_address", "plain", "wrapped"]

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
        "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
        "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NEVER_4 = tuple(IPv4Network(text) for text in ("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"))
_NEVER_6 = tuple(IPv6Network(text) for text in ("::/128", "ff00::/8"))

_LAST_32_BITS = tuple(
    IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""Prefixes before a whole IPv4 address: compatible, mapped, translated, NAT64."""
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def parse_address(text: str) -> Address | None:
    """Return the address that ``text`` is in its one ordinary spelling, else ``None``."""
    try:
        return plain(ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def plain(address: Address) -> Address:
    """Return the IPv4 address that a mapped one is to the kernel; others as they are."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def wrapped(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses to which a transition address may lead."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    if any(address in network for network in _LAST_32_BITS) and number > 1:
        return (IPv4Address(number & 0xFFFF_FFFF),)
    if address in _6TO4:
        return (IPv4Address(number >> 80 & 0xFFFF_FFFF),)
    if address in _TEREDO:
        return (
            IPv4Address(number >> 64 & 0xFFFF_FFFF),
            IPv4Address(~number & 0xFFFF_FFFF),
        )
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        return (IPv4Address(number & 0xFFFF_FFFF),)
    return ()


def is_public(address: Address) -> bool:
    """Whether an address, and any that it wraps, belongs to the public internet."""
    address = plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    inner = wrapped(address)
    if any(not is_public(one) for one in inner):
        return False
    if inner and (address in _6TO4 or address in _TEREDO or address not in _GLOBAL_6):
        return True
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)


def is_dialable(address: Address) -> bool:
    """Whether an address is one host's, so that a rule may name it; the rest is always refused."""
    address = plain(address)
    never = _NEVER_4 if isinstance(address, IPv4Address) else _NEVER_6
    return all(
        not any(one in network for network in (_NEVER_4 if one.version == 4 else never))
        for one in (address, *wrapped(address))
    )
