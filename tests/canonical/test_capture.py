"""Pure. What is kept of a body."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.capture import Body, Capture


@given(st.lists(st.binary(max_size=20)), st.integers(min_value=0, max_value=60))
def test_however_it_arrives_the_beginning_is_kept_and_a_cut_is_told(pieces, max_bytes):
    body, whole = Body(max_bytes), b"".join(pieces)
    for piece in pieces:
        body.receive_data(piece)
    assert body.kept == whole[:max_bytes]
    assert body.is_truncated == (len(whole) > max_bytes)


def test_request_and_answer_are_cut_each_by_itself():
    capture = Capture(b"12345", 4)
    capture.answer.receive_data(b"abcd")
    assert (capture.request.kept, capture.request.is_truncated) == (b"1234", True)
    assert (capture.answer.kept, capture.answer.is_truncated) == (b"abcd", False)
