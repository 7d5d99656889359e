"""The shallow decode: what routing and limits need."""

import pytest

from mrproxy.canonical.request import Operation, Shape
from mrproxy.dialects.responses.shallow import decode_responses
from mrproxy.errors import ClientError


def test_a_request_is_its_model_its_shape_and_its_bound() -> None:
    body = b'{"model":"m","input":"hi","stream":true,"max_output_tokens":5}'
    request = decode_responses(body, Operation.RESPONSES)
    assert (request.model, request.shape, request.max_tokens, request.cuts_usage) == ("m", Shape.SSE, 5, False)
    assert request.body is body
    assert request.prompt_bytes == len(body)


@pytest.mark.parametrize("rest", [b"", b',"stream":false', b',"stream":null,"max_output_tokens":-1'])
def test_without_a_stream_the_answer_is_a_document(rest: bytes) -> None:
    request = decode_responses(b'{"model":"m"%b}' % rest, Operation.RESPONSES)
    assert (request.shape, request.max_tokens) == (Shape.JSON, None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model":""}', "model"),
        (b'{"model":3}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","max_output_tokens":"many"}', "max_output_tokens"),
        (b"[]", None),
        (b"", None),
    ],
)
def test_a_wrong_request_is_refused_with_its_place(body: bytes, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        decode_responses(body, Operation.RESPONSES)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("rest", "needs_recall"),
    [
        (b"", True),
        (b',"store":true', True),
        (b',"store":false', False),
        (b',"store":false,"conversation":null', False),
        (b',"store":false,"conversation":"conv_1"', True),
        (b',"store":false,"conversation":{"id":"conv_1"}', True),
        (b',"store":false,"previous_response_id":"resp_1"', True),
    ],
)
def test_what_is_stored_or_continues_something_is_read_before_its_turn(rest: bytes, needs_recall: bool) -> None:
    request = decode_responses(b'{"model":"m"%b}' % rest, Operation.RESPONSES)
    assert (request.needs_recall, request.recalled) == (needs_recall, None)
