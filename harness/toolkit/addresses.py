"""Which network addresses a tool may connect to: public ones, and what the host adds to them.

What is not public is listed here by name and not left to `ipaddress` alone, whose opinion differs from one Python to
the next. Where the two disagree, the stricter one counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from harness.errors import UsageError

__all__ = ["Address", "AddressRules", "Network"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The registries of special-purpose addresses (RFC 6890 and what followed), multicast, and the one address inside a
# public range that a cloud keeps for itself.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by customers of one provider; holds a cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure: the host below a virtual machine
        "169.254.0.0/16",  # link-local; holds the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; holds a cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
    )
]
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",  # documentation
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRules:
    """Public addresses, and those in ``networks`` (``"127.0.0.0/8"``, ``"fd00::/8"``).

    Raises `UsageError` for what is no network.
    """

    def __init__(self, networks: Iterable[str], tool: str) -> None:
        if isinstance(networks, str):
            raise UsageError(f"networks of tool {tool!r} is a list of networks: networks=[{networks!r}].")
        self._added = [_network(text, tool) for text in networks]

    def allows(self, text: str) -> bool:
        """Whether a connection to this address may be made. What is no address may not."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                return False  # it names an interface of this machine
            if address.ipv4_mapped is not None:
                address = address.ipv4_mapped  # which is where the system connects to
        return self._allows(address)

    def _allows(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
            # A gateway connects to the IPv4 address inside: it must be allowed, and so must using the gateway.
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
            return self._is_added(address) and self._allows(inner)
        return self._is_added(address) or _is_public(address)

    def _is_added(self, address: Address) -> bool:
        return any(address in network for network in self._added)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        listed = any(address in network for network in _NOT_PUBLIC_4)
    else:
        listed = address not in _PUBLIC_6 or any(address in network for network in _NOT_PUBLIC_6)
    return not listed and address.is_global and not address.is_multicast


def _network(text: Any, tool: str) -> Network:
    try:
        if isinstance(text, str):
            return ipaddress.ip_network(text)
        reason = "it is no text"
    except ValueError as error:
        reason = str(error)
    raise UsageError(
        f"networks of tool {tool!r} holds {text!r}, which is no network ({reason}). Write an address and a length: "
        "'10.1.0.0/16', '127.0.0.1/32', 'fd00::/8'."
    )
