"""Shell. Did clients get the bytes that the engine sent? Fingerprints of whole answers are compared."""

import http.client
from collections import Counter
from typing import Any

import msgspec

from bench.results import Fidelity
from bench.targets import parse_url

MAX_CHECKED = 20_000  # what a mock remembers


def control(url: str, method: str, path: str, body: object = None) -> Any:
    """Call a mock's control route."""
    host, port = parse_url(url)
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, None if body is None else msgspec.json.encode(body))
        return msgspec.json.decode(connection.getresponse().read())
    finally:
        connection.close()


def fetch_sent(mock_url: str) -> "Counter[tuple[int, int, int]]":
    sent: dict[str, tuple[int, int, int]] = control(mock_url, "GET", "/_mock/sent")
    return Counter((tokens, size, crc) for tokens, size, crc in sent.values())


def compare_answers(
    received: list[tuple[int, int, int]], sent: "Counter[tuple[int, int, int]]", altered: int, out_of_order: int
) -> Fidelity:
    """Every answer received must be one that was sent, each as often as it was sent."""
    if len(received) > MAX_CHECKED:
        return Fidelity(0, 0, altered, out_of_order, f"more than {MAX_CHECKED} answers: not compared")
    left = Counter(sent)
    identical = 0
    for fingerprint in received:
        if left[fingerprint] > 0:
            left[fingerprint] -= 1
            identical += 1
    return Fidelity(len(received), identical, altered, out_of_order)
