"""Streams and documents of Anthropic's Messages API as engines send them, event by event. Sources: Anthropic API
reference, "Streaming messages" (2026); vLLM entrypoints/anthropic/serving.py, llama.cpp tools/server/server-task.cpp,
ollama anthropic/anthropic.go (all 2026); shortened in their texts only."""

from dataclasses import dataclass

from mrproxy.canonical.exchange import Usage


def event(name: str, data: bytes) -> bytes:
    """As Anthropic frames it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def delta(index: int, data: bytes) -> bytes:
    return event("content_block_delta", b'{"type":"content_block_delta","index":%d,"delta":{%b}}' % (index, data))


def text(index: int, words: bytes) -> bytes:
    return delta(index, b'"type":"text_delta","text":"%b"' % words)


def stop(index: int) -> bytes:
    return event("content_block_stop", b'{"type":"content_block_stop","index":%d}' % index)


def start(index: int, block: bytes) -> bytes:
    return event(
        "content_block_start", b'{"type":"content_block_start","index":%d,"content_block":{%b}}' % (index, block)
    )


@dataclass(frozen=True, slots=True)
class Golden:
    """`deltas`: how many events are content."""

    events: tuple[bytes, ...]
    usage: Usage | None
    deltas: int

    @property
    def data(self) -> bytes:
        return b"".join(self.events)


PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = event("message_stop", b'{"type":"message_stop"}')
TEXT_START = start(0, b'"type":"text","text":""')

ANTHROPIC = Golden(
    (
        event(
            "message_start",
            b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],'
            b'"model":"claude","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,'
            b'"cache_creation_input_tokens":4,"cache_read_input_tokens":100,"output_tokens":1,'
            b'"service_tier":"standard"}}}',
        ),
        TEXT_START,
        PING,
        text(0, b"Hel"),
        text(0, b'lo \\"usage\\"'),
        stop(0),
        event(
            "message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
            b'"usage":{"output_tokens":15}}',
        ),
        STOP,
    ),
    Usage(129, 15),
    2,
)
VLLM = Golden(
    (
        event(
            "message_start",
            b'{"type":"message_start","message":{"id":"chatcmpl-1","content":[],"model":"m","stop_reason":null,'
            b'"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}',
        ),
        start(0, b'"type":"thinking","thinking":""'),
        delta(0, b'"type":"thinking_delta","thinking":"Hmm"'),
        delta(0, b'"type":"signature_delta","signature":"5e5"'),
        stop(0),
        start(1, b'"type":"tool_use","id":"call_1","name":"f","input":{}'),
        delta(1, b'"type":"input_json_delta","partial_json":"{\\"a\\""'),
        delta(1, b'"type":"input_json_delta","partial_json":": 1}"'),
        stop(1),
        event(
            "message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":11,"output_tokens":3}}',
        ),
        STOP,
        b"data: [DONE]\n\n",
    ),
    Usage(11, 3),
    4,
)
OLLAMA = Golden(
    (
        event(
            "message_start",
            b'{"type":"message_start","message":{"id":"msg_2","type":"message","role":"assistant","model":"m",'
            b'"content":[],"usage":{"input_tokens":0,"output_tokens":0}}}',
        ),
        TEXT_START,
        text(0, b"Hi"),
        stop(0),
        event(
            "message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":1}}',
        ),
        STOP,
    ),
    Usage(None, 1),
    1,
)
CRLF = Golden(tuple(event.replace(b"\n", b"\r\n") for event in ANTHROPIC.events), ANTHROPIC.usage, ANTHROPIC.deltas)
# Several message_delta events, each with the counts so far, as Anthropic sends them around its own tools.
CUMULATIVE = Golden(
    (
        *ANTHROPIC.events[:6],
        event(
            "message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":null},"usage":{"input_tokens":30,"output_tokens":7}}',
        ),
        start(1, b'"type":"text","text":""'),
        text(1, "é…".encode()),
        stop(1),
        event(
            "message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},'
            b'"usage":{"input_tokens":31,"cache_read_input_tokens":100,"output_tokens":9}}',
        ),
        STOP,
    ),
    Usage(135, 9),
    3,
)
STREAMS = {"Anthropic": ANTHROPIC, "vLLM": VLLM, "Ollama": OLLAMA, "CRLF": CRLF, "cumulative": CUMULATIVE}
