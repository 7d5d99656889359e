from bench.backends.transcript import MAX_REMEMBERED, Transcript
from bench.http1 import Request

from .engine_bench import MILLISECOND, NotingPeer, engine_of, work


def request(request_id="r1", body=b'{"a":1}'):
    head = f"post /v1/x http/1.1\r\nx-request-id: {request_id}\r\nx-api-key: k".encode()
    return Request(b"POST", b"/v1/x", head, body)


def test_a_request_is_shown_with_its_headers_and_body():
    transcript = Transcript()
    transcript.note(request(), None, 404)
    (shown,) = transcript.last(5)
    assert (shown["order"], shown["path"], shown["status"], shown["body"]) == (1, "/v1/x", 404, {"a": 1})
    assert shown["headers"] == {"x-request-id": "r1", "x-api-key": "k"}
    assert "completion_tokens" not in shown


def test_bodies_that_are_no_json_are_text_and_empty_ones_nothing():
    transcript = Transcript()
    for body in (b"\xff{", b"", b"x" * (2 << 20)):
        transcript.note(request(body=body), None, 400)
    assert [shown["body"] for shown in transcript.last(3)] == ["\ufffd{", None, None]


def test_the_last_ones_are_kept_and_can_be_asked_for_by_id():
    transcript = Transcript()
    for number in range(MAX_REMEMBERED + 10):
        transcript.note(request(f"r{number}"), None, 200)
    assert [shown["request_id"] for shown in transcript.last(2)] == [f"r{MAX_REMEMBERED + 8}", f"r{MAX_REMEMBERED + 9}"]
    assert [shown["order"] for shown in transcript.last(9, "r50")] == [51]
    assert transcript.last(9, "r1") == transcript.last(0) == []
    transcript.reset()
    assert transcript.last(9) == []


def test_an_entry_says_how_far_the_request_is_and_what_it_cost():
    engine, timers, _ = engine_of(max_num_seqs=1)
    transcript = Transcript()
    first = engine.submit(work(tokens=3), NotingPeer(), None, 1)
    second = engine.submit(work(tokens=100), NotingPeer(), None, 1)
    for sequence in (first, second):
        transcript.note(request(), sequence, 200)

    def progress():
        return [(shown["state"], shown["completion_tokens"]) for shown in transcript.last(2)]

    assert progress() == [("running", 0), ("waiting", 0)]
    timers.advance(100_000 * MILLISECOND)
    assert progress() == [("done", 3), ("done", 100)]


def test_an_aborted_stream_cost_what_was_made_until_then():
    engine, timers, _ = engine_of()
    transcript = Transcript()
    sequence = engine.submit(work(tokens=1000), NotingPeer(), None, 0)
    transcript.note(request(), sequence, 200)
    timers.advance(40 * MILLISECOND)
    engine.abort(sequence, timers.now)
    (shown,) = transcript.last(1)
    assert (shown["state"], shown["completion_tokens"], shown["prompt_tokens"]) == ("aborted", sequence.sent, 10)
    assert sequence.sent > 1


def test_a_whole_answer_cost_all_its_tokens_once_it_is_given():
    engine, timers, _ = engine_of(json_seconds=0.01)
    transcript = Transcript()
    transcript.note(request(), engine.submit(work(tokens=5, stream=False), NotingPeer(), None, 0), 200)
    assert transcript.last(1)[0]["completion_tokens"] == 0
    timers.advance(10 * MILLISECOND)
    assert transcript.last(1)[0]["completion_tokens"] == 5
