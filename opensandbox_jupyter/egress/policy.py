"""A sandbox's network policy: which hosts, addresses and ports it may reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal, TypeVar

import msgspec

from opensandbox_jupyter.egress.addresses import Address, is_dialable, is_public, plain, wrapped
from opensandbox_jupyter.egress.names import Unreadable, canonical_name

__all__ = [
    "DENY_ALL",
    "OPEN",
    "Destination",
    "NetworkPolicy",
    "Rule",
    "TooManyRules",
    "load",
    "to_rules",
]

_T = TypeVar("_T")
Action = Literal["allow", "deny"]
MOST_RULES = 4096
_MOST_TARGET = 512


@dataclass(frozen=True)
class Destination:
    """Where a request wants to go. ``usual_port`` is what a rule without a port opens."""

    host: str | Address
    port: int
    usual_port: int


class Rule(msgspec.Struct, frozen=True, dict=True):
    """One rule. ``target`` is a name, ``*.name``, an address or a CIDR, each with ``:port`` or not.

    A rule without a port allows the usual port only, and denies every port.
    """

    action: Action
    target: str

    @cached_property
    def matcher(self) -> _Matcher:
        """What the target means. Raises: Unreadable."""
        return _Matcher.parse(self.target)

    def covers(self, destination: Destination, address: Address) -> bool:
        """Whether this rule decides about ``destination`` at ``address``."""
        return self.opens_port(destination) and (
            self.matcher.has_name(destination.host) or self.names(address)
        )

    def names(self, address: Address) -> bool:
        """Whether the target is an address or network with ``address`` in it."""
        network = self.matcher.network
        if network is None:
            return False
        inner = wrapped(address) if self.action == "deny" else ()
        return any(one in network for one in (address, *inner))

    def opens_port(self, destination: Destination) -> bool:
        """Whether the rule speaks of the destination's port."""
        if self.matcher.port is None:
            return self.action == "deny" or destination.port == destination.usual_port
        return destination.port == self.matcher.port


@dataclass(frozen=True)
class _Matcher:
    name: str = ""
    is_wildcard: bool = False
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, target: str) -> _Matcher:
        text = target.strip()
        if not text or len(text) > _MOST_TARGET:
            raise Unreadable("A rule's target must have 1 to 512 characters.")
        host, port = _split_port(text)
        network = _network(host)
        if network is not None:
            return cls(network=network, port=port)
        is_wildcard = host.startswith("*.")
        try:
            name = canonical_name(host[2:] if is_wildcard else host)
        except Unreadable as error:
            raise Unreadable(
                f"{target[:80]!r} is no target: name a host, `*.example.com`, an address or a"
                " CIDR, with `:port` or not."
            ) from error
        return cls(name=name, is_wildcard=is_wildcard, port=port)

    @property
    def is_narrow(self) -> bool:
        """Whether the network is no wider than a private one: ``0.0.0.0/0`` names nothing."""
        network = self.network
        return network is not None and network.prefixlen >= (8 if network.version == 4 else 7)

    def has_name(self, host: str | Address) -> bool:
        if not self.name or not isinstance(host, str):
            return False
        return host.endswith(f".{self.name}") if self.is_wildcard else host == self.name


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise Unreadable(f"{text[:80]!r} is no target.")
        number = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    else:
        return text, None
    if number is None:
        return host, None
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:6]) <= 65_535):
        raise Unreadable(f"{text[:80]!r} has no port from 1 to 65535.")
    return host, int(number)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if "%" in text or text.isdigit():
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        if "/" in text:
            raise Unreadable(f"{text[:80]!r} is no CIDR.") from None
        return None
    start = plain(network.network_address)
    if network.prefixlen >= 96 and start is not network.network_address:
        return IPv4Network(f"{start}/{network.prefixlen - 96}")
    return network


class NetworkPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """Rules, of which the first that covers a destination decides, and what holds otherwise."""

    default_action: Action = "deny"
    egress: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if len(self.egress) > MOST_RULES:
            raise TooManyRules(f"A policy has at most {MOST_RULES} rules.")
        for rule in self.egress:
            _ = rule.matcher

    @property
    def mode(self) -> str:
        """The policy in one word of the protocol."""
        if self.default_action == "deny" and not self.may_reach_anything:
            return "deny_all"
        return "enforcing" if self.egress else "allow_all"

    @property
    def may_reach_anything(self) -> bool:
        """Whether there is any destination that is not denied."""
        return self.default_action == "allow" or any(r.action == "allow" for r in self.egress)

    def allows(self, destination: Destination, address: Address) -> bool:
        """Whether a sandbox may reach ``destination`` at ``address``, one that it resolves to."""
        address = plain(address)
        if not is_dialable(address):
            return False
        return self._decides(destination, address) and (
            is_public(address) or self.names_address(destination, address)
        )

    def names_address(self, destination: Destination, address: Address) -> bool:
        """Whether a rule opens this very address, which one for a host name does not."""
        for rule in self.egress:
            if rule.names(address) and rule.opens_port(destination):
                if rule.action == "deny":
                    return False
                if rule.matcher.is_narrow:
                    return True
        return False

    def could_allow(self, destination: Destination) -> bool:
        """Whether it is worth looking the name up. What may never be reached need not be asked."""
        opens_addresses = any(r.matcher.network and r.action == "allow" for r in self.egress)
        return opens_addresses or self.allows_name(destination)

    def allows_name(self, destination: Destination) -> bool:
        """Whether the host may be reached for its name, as far as that alone decides."""
        for rule in self.egress:
            if rule.matcher.has_name(destination.host) and rule.opens_port(destination):
                return rule.action == "allow"
        return self._default(destination)

    def _decides(self, destination: Destination, address: Address) -> bool:
        for rule in self.egress:
            if rule.covers(destination, address):
                return rule.action == "allow"
        return self._default(destination)

    def _default(self, destination: Destination) -> bool:
        return self.default_action == "allow" and destination.port == destination.usual_port

    def with_rules(self, rules: Iterable[Rule]) -> NetworkPolicy:
        """Return this policy with ``rules`` first; of several for one target, the first stays."""
        first: dict[str, Rule] = {}
        for rule in (*rules, *self.egress):
            first.setdefault(rule.target.strip().casefold(), rule)
        return NetworkPolicy(self.default_action, tuple(first.values()))

    def without(self, targets: Iterable[str]) -> NetworkPolicy:
        """Return this policy without the rules for ``targets``."""
        gone = {target.strip().casefold() for target in targets}
        kept = (rule for rule in self.egress if rule.target.strip().casefold() not in gone)
        return NetworkPolicy(self.default_action, tuple(kept))


class TooManyRules(ValueError):
    """A policy has more rules than are looked through for a request."""


DENY_ALL = NetworkPolicy()
OPEN = NetworkPolicy(default_action="allow")
"""What a sandbox has for which nobody asked for a policy: the public internet, by HTTP(S)."""


def _lowered(value: object) -> object:
    """Let ``Allow`` be ``allow``, as the original does, and ``null`` be absent."""
    if isinstance(value, dict):
        found = {key: _lowered(entry) for key, entry in value.items() if entry is not None}
        for key in {"action", "defaultAction"} & found.keys():
            found[key] = str(found[key]).lower()
        return found
    return [_lowered(entry) for entry in value] if isinstance(value, list) else value


def _convert(document: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(_lowered(document), kind)
    except (TooManyRules, Unreadable):
        raise
    except (msgspec.ValidationError, RecursionError) as error:
        if isinstance(error.__cause__, (TooManyRules, Unreadable)):
            raise error.__cause__ from error
        raise Unreadable(f"The policy is not understood: {error}.") from error


def load(document: object) -> NetworkPolicy:
    """Return the policy that a JSON document is; nothing at all denies all.

    Raises:
        Unreadable: it is none.
        TooManyRules: it is too long.
    """
    return _convert({} if document is None else document, NetworkPolicy)


def to_rules(document: object) -> list[Rule]:
    """Return the rules in a JSON array, each of them checked. Raises: Unreadable."""
    rules = _convert(document, list[Rule])
    for rule in rules:
        _ = rule.matcher
    return rules
