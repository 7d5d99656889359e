"""What a record becomes for OpenTelemetry."""

import pytest
from hypothesis import given

from mrproxy.link.trace import TraceContext, client_span_id
from mrproxy.telemetry.spans import is_wanted, spans_of
from tests.link.journal_examples import a_record, journal_records

CALLERS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KINDS = {"gpu-1": "vllm"}


def test_a_request_is_a_servers_span_with_a_clients_in_it():
    record = a_record(traceparent=CALLERS, queue_seconds=0.5)
    server, client = spans_of(record, KINDS, 100)
    assert (server.is_server, client.is_server) == (True, False)
    assert server.trace_id == client.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert server.parent_id == 0x00F067AA0BA902B7
    assert client.parent_id == server.span_id
    assert client.span_id == client_span_id(CALLERS, record.request_id)
    assert server.end_ns - server.start_ns == 2_500_000_000
    assert client.start_ns - server.start_ns == 500_000_000
    assert client.end_ns == server.end_ns


def test_the_words_are_those_of_the_conventions():
    _, client = spans_of(a_record(), KINDS, 100)
    assert client.name == "chat llama3.2:3b"
    assert client.attributes["gen_ai.operation.name"] == "chat"
    assert client.attributes["gen_ai.provider.name"] == "vllm"
    assert client.attributes["gen_ai.request.model"] == "llama3.2:3b"
    assert client.attributes["gen_ai.usage.input_tokens"] == 120
    assert client.attributes["gen_ai.usage.output_tokens"] == 64


@pytest.mark.parametrize(
    ("operation", "name"),
    [("messages", "chat"), ("responses", "chat"), ("generate", "text_completion"), ("embed", "embeddings"),
     ("rerank", "rerank")],
)  # fmt: skip
def test_operations_have_the_conventions_names_where_there_are_any(operation, name):
    _, client = spans_of(a_record(operation=operation), KINDS, 100)
    assert client.attributes["gen_ai.operation.name"] == name


def test_tokens_that_nobody_counted_are_left_out():
    _, client = spans_of(a_record(prompt_tokens=None, completion_tokens=None), KINDS, 100)
    assert not any(name.startswith("gen_ai.usage") for name in client.attributes)


def test_what_came_to_no_backend_has_one_span():
    (server,) = spans_of(a_record(backend="", status=429, code="rate_limited"), KINDS, 100)
    assert server.is_server
    assert server.error == ""  # the caller's fault, say the conventions of HTTP


def test_a_backends_failure_is_an_error_of_both():
    server, client = spans_of(a_record(status=502, code="backend_failed"), KINDS, 100)
    assert server.error == client.error == "backend_failed"
    assert server.attributes["error.type"] == "backend_failed"


def test_a_stream_that_broke_off_is_an_error_although_it_began_well():
    server, _ = spans_of(a_record(status=200, code="backend_failed"), KINDS, 100)
    assert server.error == "backend_failed"


def test_a_callers_decision_not_to_sample_is_respected():
    assert spans_of(a_record(traceparent=CALLERS[:-2] + "00"), KINDS, 100) == ()
    assert len(spans_of(a_record(traceparent=CALLERS), KINDS, 0)) == 2


def test_a_share_of_our_own_traces_is_taken():
    contexts = [TraceContext(number * 2**50 + 7, 0, True) for number in range(64)]
    assert sum(is_wanted(context, 25) for context in contexts) == 16
    assert all(is_wanted(context, 100) for context in contexts)
    assert not any(is_wanted(context, 0) for context in contexts)


@given(journal_records)
def test_every_record_has_spans_whose_times_are_in_order(record):
    for span in spans_of(record, KINDS, 100):
        assert span.start_ns <= span.end_ns
        assert all(value is not None for value in span.attributes.values())
