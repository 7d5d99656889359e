"""Pure. Where a request comes from, and whether by TLS: what we see ourselves, or what a trusted proxy says it saw.

`X-Forwarded-For` is a list to which each proxy adds who came to it. It is read from its end, as far as the proxies are
trusted: what stands before the first stranger, that stranger may have written himself (nginx's `real_ip_recursive`
does the same). `X-Forwarded-Proto` is the word of the proxy next to us.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def networks_of(text: str) -> tuple[Network, ...]:
    """As in the setting `trusted_proxies`. Raises ValueError."""
    return tuple(ip_network(each, strict=False) for each in text.replace(",", " ").split())


def origin_of(
    peer: str, is_tls: bool, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]
) -> tuple[str, bool]:
    """The client's address, and whether it came by TLS. Header names are in lower case."""
    if not trusted or not is_within(peer, trusted):
        return peer, is_tls
    passed: list[bytes] = []
    proto = b""
    for name, value in headers:
        if name == b"x-forwarded-for":
            passed += value.split(b",")
        elif name == b"x-forwarded-proto":
            proto = value.rpartition(b",")[2].strip().lower()
    return last_stranger(peer, passed, trusted), proto == b"https"


def last_stranger(peer: str, passed: list[bytes], trusted: Sequence[Network]) -> str:
    """The last address that no trusted proxy has; what is no address ends the search."""
    address = peer
    for each in reversed(passed):
        try:
            address = normal(each.decode("ascii").strip())
        except ValueError:  # UnicodeDecodeError is one
            break
        if not is_within(address, trusted):
            break
    return address


def normal(text: str) -> str:
    """An address as we write it. Some proxies add a port, and brackets where it is of IPv6. Raises ValueError."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = ip_address(text)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(normal(address))
    except ValueError:
        return False
    return any(parsed in network for network in networks)
