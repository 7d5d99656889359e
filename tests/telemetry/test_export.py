"""From the journal to a collector, by OTLP over HTTP."""

import pytest
import trio

from mrproxy.link.journal import Writer
from mrproxy.link.snapshot import BackendSpec, Snapshot, write
from mrproxy.telemetry import export as module
from mrproxy.telemetry.export import BackendKinds, SpanExport, open_sender
from tests.fakes.collector import run_collector
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path, "w1", 1 << 20)
    writer.append_all([a_record(request_id="before")])
    yield writer
    writer.close()


def export_of(directory, send, log=None):
    return SpanExport(directory, send, lambda: {"gpu-1": "vllm"}, 100, log or MemoryLog())


async def test_a_collector_gets_what_ended_since_the_start(tmp_path, writer):
    with run_collector() as there:
        exporting = export_of(tmp_path, open_sender(there.endpoint, "1.2.3"))
        writer.append_all([a_record(request_id="0af7651916cd43dd8448eb211c80319c")])
        assert not await exporting.export_batch()
        server, client = there.spans
        resource = {
            each.key: each.value.string_value for each in there.requests[0].resource_spans[0].resource.attributes
        }
    assert resource["service.name"] == "mrproxy"
    assert server.trace_id.hex() == client.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert client.parent_span_id == server.span_id
    assert (server.kind, client.kind) == (2, 3)  # SERVER and CLIENT
    assert client.name == "chat llama3.2:3b"
    assert exporting.exported_spans == 2


async def test_spans_that_do_not_arrive_are_counted_and_said_once(tmp_path, writer):
    answers = iter([False, False, True])
    log = MemoryLog()
    exporting = export_of(tmp_path, lambda spans: next(answers), log)
    for _ in range(3):
        writer.append_all([a_record()])
        await exporting.export_batch()
    assert (exporting.dropped_spans, exporting.exported_spans) == (4, 2)
    said = [event for _, event, _ in log.lines]
    assert said == ["spans do not arrive at the collector", "spans arrive again"]


async def test_a_collector_that_is_too_slow_gets_what_is_new(tmp_path, writer, monkeypatch):
    monkeypatch.setattr(module, "MAX_BEHIND_BYTES", 100)
    seen = []
    exporting = export_of(tmp_path, lambda spans: bool(seen.extend(spans)) or True)
    writer.append_all([a_record()] * 10)
    await exporting.export_batch()
    assert seen == []
    monkeypatch.setattr(module, "MAX_BEHIND_BYTES", 1 << 20)
    writer.append_all([a_record()])
    await exporting.export_batch()
    assert len(seen) == 2


async def test_it_follows_until_it_is_cancelled(tmp_path, writer, autojump_clock):
    seen = []
    arrived = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def send(spans):
        seen.extend(spans)
        token.run_sync_soon(arrived.set)
        return True

    exporting = export_of(tmp_path, send)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        writer.append_all([a_record()])
        await arrived.wait()
        nursery.cancel_scope.cancel()
    assert len(seen) == 2


def test_kinds_are_those_of_the_newest_snapshot_that_could_be_read(tmp_path):
    path = tmp_path / "snapshot.json"
    kinds = BackendKinds(path)
    assert kinds.now() == {}
    write(path, Snapshot(generation=1, created_utc=0.0, backends=(BackendSpec("gpu-1", "vllm", "http://e", 1),)))
    assert kinds.now() == {"gpu-1": "vllm"}
    path.write_text("{")
    assert kinds.now() == {"gpu-1": "vllm"}
