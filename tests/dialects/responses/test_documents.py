"""The objects of the API, in its spelling."""

import json

import msgspec
import pytest
from openai.types.responses import Response as TheirResponse
from openai.types.responses import ResponseUsage

from mrproxy.canonical.deltas import TokenReport
from mrproxy.dialects.responses.documents import (
    Echo,
    Error,
    FunctionCallItem,
    IncompleteDetails,
    MessageItem,
    OutputItem,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Response,
    TokenLogprob,
    TopLogprob,
    make_usage,
)


def test_a_response_with_every_kind_of_item_is_the_sdks() -> None:
    logprob = TokenLogprob("a", [97], -0.5, [TopLogprob("a", [97], -0.5)])
    items: list[OutputItem] = [
        ReasoningItem("rs_1", "completed", [ReasoningText("t")], "sealed"),
        MessageItem("msg_1", "incomplete", [OutputText("a", logprobs=[logprob]), OutputRefusal("no")]),
        FunctionCallItem("fc_1", "completed", "call_1", "f", "{}"),
    ]
    response = Response(
        id="resp_1",
        created_at=1,
        status="incomplete",
        model="m",
        output=items,
        error=Error("server_error", "x"),
        incomplete_details=IncompleteDetails("max_output_tokens"),
        usage=make_usage(TokenReport(1, 2)),
    )
    document = msgspec.json.encode(response)
    found = TheirResponse.model_validate_json(document)
    assert [item.type for item in found.output] == ["reasoning", "message", "function_call"]
    assert json.loads(document)["output"][1]["role"] == "assistant"
    assert not found.model_extra or set(found.model_extra) == {"store"}  # the SDK's type lacks it, the API has it


def test_an_echo_is_part_of_a_response() -> None:
    assert set(Echo.__struct_fields__) < set(Response.__struct_fields__)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (None, None),
        (TokenReport(), None),
        (TokenReport(total_ns=3, cached_tokens=1), None),
        (TokenReport(5), (5, 0, 0, 0, 5)),
        (TokenReport(completion_tokens=2), (0, 0, 2, 0, 2)),
        (TokenReport(5, 2, 3, 1, 1), (5, 3, 2, 1, 7)),
    ],
)
def test_usage_is_the_engines_or_none(tokens: TokenReport | None, expected: tuple[int, ...] | None) -> None:
    usage = make_usage(tokens)
    if usage is None:
        assert expected is None
        return
    found = ResponseUsage.model_validate_json(msgspec.json.encode(usage))
    assert expected == (
        found.input_tokens,
        found.input_tokens_details.cached_tokens,
        found.output_tokens,
        found.output_tokens_details.reasoning_tokens,
        found.total_tokens,
    )
