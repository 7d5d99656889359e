"""Journal records to test with: one plain, and a strategy for all kinds."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from mrproxy.link.records import JournalRecord

_PLAIN = JournalRecord(
    request_id="req-0001",
    worker="w0",
    started_utc=1_790_000_000.25,
    key_id="k-1",
    user="ada",
    group="staff",
    model="llama3.2:3b",
    backend="gpu-1",
    dialect="openai",
    operation="chat",
    lane="straight",
    stream=True,
    status=200,
    code="",
    attempts=1,
    queue_seconds=0.0,
    first_byte_seconds=0.125,
    total_seconds=2.5,
    prompt_tokens=120,
    completion_tokens=64,
    usage_state="exact",
    bytes_in=1100,
    bytes_out=11_520,
    client_address="127.0.0.1",
)


def a_record(**changes: Any) -> JournalRecord:
    return msgspec.structs.replace(_PLAIN, **changes)


_names = st.text(st.characters(codec="utf-8"), max_size=20)
_seconds = st.floats(0, 1e6)
_tokens = st.none() | st.integers(0, 10**9)

journal_records = st.builds(
    JournalRecord,
    request_id=_names,
    worker=_names,
    started_utc=_seconds,
    key_id=_names,
    user=_names,
    group=_names,
    model=_names,
    backend=_names,
    dialect=st.sampled_from(["openai", "ollama"]),
    operation=_names,
    lane=st.just("straight"),
    stream=st.booleans(),
    status=st.integers(0, 599),
    code=_names,
    attempts=st.integers(0, 3),
    queue_seconds=_seconds,
    first_byte_seconds=st.none() | _seconds,
    total_seconds=_seconds,
    prompt_tokens=_tokens,
    completion_tokens=_tokens,
    usage_state=st.sampled_from(["exact", "counted", "partial", "estimated", "absent"]),
    bytes_in=st.integers(0, 2**40),
    bytes_out=st.integers(0, 2**40),
    client_address=_names,
)
