from bench.backends.heads import AnthropicHeads, GoHeads, UvicornHeads

NOW = 1_700_000_000
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_uvicorn_writes_lower_case_names_date_and_server_first():
    reply = UvicornHeads().reply(429, b"{}", "application/json", NOW, b"Retry-After: 1\r\n")
    assert reply.data == (
        b"HTTP/1.1 429 Too Many Requests\r\ndate: " + DATE + b"\r\nserver: uvicorn\r\n"
        b"content-length: 2\r\ncontent-type: application/json\r\nRetry-After: 1\r\n\r\n{}"
    )
    assert UvicornHeads().stream("text/event-stream", NOW).endswith(b"transfer-encoding: chunked\r\n\r\n")


def test_go_writes_canonical_names():
    assert GoHeads().json(200, {}, NOW).data == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: " + DATE + b"\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    assert GoHeads().stream("application/x-ndjson", NOW).endswith(b"Transfer-Encoding: chunked\r\n\r\n")


def test_the_date_follows_the_clock():
    heads = UvicornHeads()
    first, second = heads.stream("a", NOW), heads.stream("a", NOW + 1)
    assert first != second
    assert first == heads.stream("a", NOW)


def test_anthropics_heads_name_the_request():
    heads = AnthropicHeads(lambda: "0f")
    assert b"\r\nrequest-id: req_0f\r\n" in heads.stream("text/event-stream", 1)
    reply = heads.json(529, {}, 1)
    assert reply.data.startswith(b"HTTP/1.1 529 Overloaded\r\n")
    assert reply.data.endswith(b"Content-Length: 2\r\n\r\n{}")
