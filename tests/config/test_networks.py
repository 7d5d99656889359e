"""Which address is in which network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config.networks import is_in, parse_address, readable_networks


@pytest.mark.parametrize(
    ("networks", "address", "is_member"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8, 192.0.2.7", "192.0.2.7", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "someone", False),
        ("", "10.0.0.1", False),
    ],
)
def test_an_address_is_in_a_network_or_not(networks: str, address: str, is_member: bool):
    assert is_in(parse_address(address), readable_networks(networks.split(","))) is is_member


def test_what_cannot_be_read_of_a_key_allows_nobody():
    assert [str(each) for each in readable_networks(["10.0.0.1/8", "here", " ::1 "])] == ["10.0.0.0/8", "::1/128"]
    assert readable_networks(["here"]) == ()


@given(st.ip_addresses())
def test_every_address_is_read_as_it_is_written(address):
    parsed = parse_address(str(address))
    assert parsed in (address, getattr(address, "ipv4_mapped", None))
