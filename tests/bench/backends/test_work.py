from bench.backends.work import escape_template, frame, frame_template

from .engine_bench import work


def test_a_frame_is_one_http_chunk():
    assert frame(b"hello world") == b"b\r\nhello world\r\n"


def test_a_template_knows_where_its_payload_is():
    template, payload_at, size = frame_template(work(), 0)
    data = template % 7
    assert data[payload_at:-2] == b"t0000000000000000007 \n"
    assert size == len(data[payload_at:-2])


def test_percent_signs_survive_a_template():
    assert escape_template(b"100%") % () == b"100%"
