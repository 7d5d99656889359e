"""Pure. Networks in CIDR notation, and whether an address is in one of them.

An IPv4 address that comes mapped into IPv6 (`::ffff:10.0.0.1`, RFC 4291 §2.5.5.2) is the IPv4 address.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def readable_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Those that can be read. The others allow nobody: what was meant by them nobody can tell."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            continue
    return tuple(found)


def parse_address(text: str) -> Address | None:
    """None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def is_in(address: Address | None, networks: Iterable[Network]) -> bool:
    """What is no address is in no network."""
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )
