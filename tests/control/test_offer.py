"""What is offered beside status and metrics."""

from mrproxy.control.offer import Offer


def test_an_offer_needs_no_pages():
    assert Offer(make_plane=lambda observe, tell: None, apis=()).mounts == ()
