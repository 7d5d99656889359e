import json

import pytest

from bench.http1 import RequestReader
from bench.workload import PATHS, RequestSpec, encode_get, encode_request, pad_request


@pytest.mark.parametrize("operation", PATHS)
def test_every_operation_makes_one_complete_request(operation):
    reader = RequestReader()
    reader.receive_data(encode_request(RequestSpec(operation=operation, key="secret", max_tokens=7)))
    request = reader.next_request()
    assert request is not None
    assert request.path == PATHS[operation].encode()
    assert request.header(b"authorization") == b"bearer secret"
    assert json.loads(request.body)["model"] == "mock-8b"


def test_a_padded_request_has_the_size_asked_for():
    assert len(pad_request(RequestSpec(), 1100)) in range(1098, 1103)


def test_usage_is_asked_for_only_when_wanted():
    assert b"include_usage" not in encode_request(RequestSpec(stream=True))
    assert b'"stream_options":{"include_usage":true}' in encode_request(RequestSpec(stream=True, include_usage=True))


def test_a_get_carries_the_key():
    assert (
        encode_get("/v1/models", "h", "k") == b"GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n\r\n"
    )
