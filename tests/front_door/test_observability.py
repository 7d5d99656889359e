"""What an operator can see from outside: spans at a collector, and the log's events."""

from pathlib import Path

import pytest

from mrproxy.telemetry.log_file import LogFilter, read_log
from tests.fakes.collector import run_collector
from tests.front_door.gateway import KEY, MESSAGES, backend_table, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_a_callers_trace_goes_on_at_the_collector(tmp_path: Path) -> None:
    with run_mock("vllm", tmp_path, "--answer-tokens=5") as engine, run_collector() as collector:
        config = f"otlp_endpoint = '{collector.endpoint}'\n" + key_table(KEY, "ada")
        config += backend_table("gpu-1", "vllm", engine)
        with run_gateway(tmp_path, config) as gateway, gateway.open_openai() as client:
            trace = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
            answer = client.chat.completions.create(model="mock-8b", messages=MESSAGES, extra_headers=trace)
            server, request = eventually(lambda: collector.spans[:2] or None, "no spans came")
        assert answer.usage is not None
        assert server.trace_id.hex() == request.trace_id.hex() == TRACE_ID
        assert server.parent_span_id.hex() == "b7ad6b7169203331"
        said = {each.key: each.value for each in request.attributes}
        assert said["gen_ai.provider.name"].string_value == "vllm"
        assert said["gen_ai.usage.input_tokens"].int_value == answer.usage.prompt_tokens
        assert said["gen_ai.usage.output_tokens"].int_value == answer.usage.completion_tokens


def test_the_log_is_kept_in_files_without_keys(tmp_path: Path) -> None:
    with run_mock("vllm", tmp_path) as engine:
        config = key_table(KEY, "ada") + backend_table("gpu-1", "vllm", engine)
        with run_gateway(tmp_path, config) as gateway:
            assert gateway.ask("GET", "/v1/models").status == 200
            logs = gateway.data_dir / "logs"
            entries = read_log(logs, LogFilter(), 1000)
    assert {"supervisor", "worker w1"} <= {str(entry["component"]) for entry in entries}
    assert "worker serves" in {entry["event"] for entry in entries}
    assert not any(KEY.encode() in path.read_bytes() for path in logs.iterdir())
