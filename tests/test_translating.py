"""The lane of an attempt, its errors in the caller's words, and retries on backends of other kinds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mrproxy.config import Backend
from mrproxy.link.trace import traceparent_onwards
from tests.fakes.behaviours import answer, answer_status, reset, sized
from tests.fakes.caller import Answer, Caller, request
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine
from tests.fakes.speaking import DIALECTS, CallersDialect, document, speaks

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
# A caller's dialect, and a kind of engine that must be translated for it.
FOREIGN = [
    ("openai", "anthropic"),
    ("completions", "anthropic"),
    ("anthropic", "vllm"),
    ("anthropic", "ollama"),
    ("responses", "vllm"),
    ("responses", "ollama"),
    ("responses", "anthropic"),
    ("ollama", "vllm"),
    ("ollama", "anthropic"),
    ("generate", "vllm"),
]
PAIRS = pytest.mark.parametrize(("name", "kind"), FOREIGN, ids=[f"{name} to {kind}" for name, kind in FOREIGN])


async def ask(caller: Caller, dialect: CallersDialect, *lines: str, stream: bool = False, **fields: Any) -> Answer:
    await caller.send(dialect.ask(*lines, stream=stream, **fields))
    return await caller.read_answer()


async def lane_of(gateway: Gateway, got: Answer) -> str:
    """As the header says and as the journal says."""
    records = await gateway.wait_records(1)
    lane = got.headers["x-mrproxy-lane"]
    assert records[-1].lane == lane
    return lane


# Which lane


@STREAM
async def test_a_thread_goes_to_no_engine_that_cannot_hold_it(tmp_path: Path, stream: bool) -> None:
    """The second request is the one that the express way would take."""
    async with run_engine() as engine:
        engine.pages["/v1/messages"] = 405, b"{}"
        engine.behaviour = speaks("hello")
        async with run_gateway(tmp_path, engine) as gateway:
            caller = await gateway.connect()
            for _ in range(2):
                got = await ask(caller, DIALECTS["anthropic"], stream=stream, thread=None)
                assert (got.status, got.headers["x-mrproxy-lane"]) == (200, "straight")
            for _ in range(2):
                got = await ask(caller, DIALECTS["anthropic"], stream=stream, thread={"id": "thread_1"})
                assert (got.status, got.json["error"]["details"]["error_code"]) == (400, "thread_unsupported_request")
            assert [turn.request.path for turn in engine.turns] == ["/v1/messages"] * 2


WISHES: list[tuple[dict[str, Any], str, int | None]] = [
    ({"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tool_choice", None),
    ({"user": "ann", "logit_bias": {"1": 2}}, "logit_bias", None),
    ({"max_completion_tokens": 7}, "", 7),
]


@STREAM
@pytest.mark.parametrize(("wishes", "warned", "bound"), WISHES, ids=["choice", "bias", "bound"])
async def test_what_ollama_would_pass_over_is_said_in_its_own_words_or_warned_of(
    tmp_path: Path, wishes: dict[str, Any], warned: str, bound: int | None, stream: bool
) -> None:
    """The second request is the one that the express way would take."""
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        for _ in range(2):
            got = await ask(caller, DIALECTS["openai"], stream=stream, **wishes)
            assert DIALECTS["openai"].hear(got, stream=stream).text == "hello"
            assert got.headers["x-mrproxy-lane"] == "translating"
            assert warned in got.headers.get("warning", "")
            sent = engine.turns[-1].request
            assert (sent.path, sent.json.get("options", {}).get("num_predict")) == ("/api/chat", bound)
        plain = await ask(caller, DIALECTS["openai"], stream=stream)
        assert (plain.headers["x-mrproxy-lane"], engine.turns[-1].request.path) == ("straight", "/v1/chat/completions")


async def test_what_ollama_has_no_answer_to_is_refused(tmp_path: Path) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        got = await ask(await gateway.connect(), DIALECTS["openai"], n=2)
        assert (got.status, got.json["error"]["param"]) == (400, "n")
        assert not engine.turns


async def test_a_thread_goes_to_anthropic_as_it_is(tmp_path: Path) -> None:
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        got = await ask(caller, DIALECTS["anthropic"], thread={"id": "thread_1"})
        assert (got.status, got.headers["x-mrproxy-lane"]) == (200, "straight")
        assert engine.turns[0].request.json["thread"] == {"id": "thread_1"}


@STREAM
@pytest.mark.parametrize(
    ("name", "kind", "lane", "path"),
    [
        ("openai", "vllm", "straight", "/v1/chat/completions"),
        ("openai", "llamacpp", "straight", "/v1/chat/completions"),
        ("openai", "openai", "straight", "/v1/chat/completions"),
        ("openai", "ollama", "straight", "/v1/chat/completions"),
        ("completions", "vllm", "straight", "/v1/completions"),
        ("anthropic", "anthropic", "straight", "/v1/messages"),
        ("ollama", "ollama", "straight", "/api/chat"),
        ("generate", "ollama", "straight", "/api/generate"),
        ("openai", "anthropic", "translating", "/v1/messages"),
        ("completions", "anthropic", "translating", "/v1/messages"),
        ("anthropic", "vllm", "translating", "/v1/chat/completions"),
        ("anthropic", "llamacpp", "translating", "/v1/chat/completions"),
        ("anthropic", "openai", "translating", "/v1/chat/completions"),
        ("anthropic", "ollama", "translating", "/api/chat"),
        ("responses", "vllm", "translating", "/v1/chat/completions"),
        ("responses", "ollama", "translating", "/api/chat"),
        ("responses", "anthropic", "translating", "/v1/messages"),
        ("ollama", "vllm", "translating", "/v1/chat/completions"),
        ("ollama", "anthropic", "translating", "/v1/messages"),
        ("generate", "vllm", "translating", "/v1/chat/completions"),
        ("generate", "anthropic", "translating", "/v1/messages"),
    ],
)
async def test_the_kinds_of_caller_and_engine_decide_the_lane(
    tmp_path: Path, name: str, kind: str, lane: str, path: str, *, stream: bool
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hel", "lo", counts=(6, 4))
        dialect = DIALECTS[name]
        caller = await gateway.connect()
        got = await ask(caller, dialect, stream=stream)
        heard = dialect.hear(got, stream=stream)
        assert (heard.text, heard.error) == ("hello", None)
        assert await lane_of(gateway, got) == lane
        assert engine.turns[0].request.path == path
        record = await gateway.last_record()
        assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (6, 4, "exact")
        assert (record.status, record.attempts, record.stream) == (200, 1, stream)
        if name not in ("openai", "completions") or not stream:  # there it must be asked for
            assert heard.usage == (6, 4)


@pytest.mark.parametrize(("name", "path"), [("anthropic", "/v1/messages"), ("responses", "/v1/responses")])
async def test_an_engine_that_refuses_only_the_method_of_a_surface_serves_it_by_itself(
    tmp_path: Path, name: str, path: str
) -> None:
    async with run_engine() as engine:
        engine.pages[path] = 405, b"{}"
        engine.behaviour = speaks("hello")
        async with run_gateway(tmp_path, engine) as gateway:
            caller = await gateway.connect()
            dialect = DIALECTS[name]
            fields: dict[str, Any] = {"store": False} if name == "responses" else {}
            got = await ask(caller, dialect, **fields)
            assert got.payload == document(path, "hello")
            assert await lane_of(gateway, got) == "straight"
            assert engine.turns[0].request.path == path
            assert engine.turns[0].request.json == json.loads(dialect.ask(**fields).partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("fields", [{}, {"store": True}, {"store": None}])
async def test_a_response_that_is_stored_is_translated_even_for_an_engine_that_serves_responses(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with run_engine() as engine:
        engine.pages["/v1/responses"] = 405, b"{}"
        engine.behaviour = speaks("hello")
        async with run_gateway(tmp_path, engine) as gateway:
            caller = await gateway.connect()
            got = await ask(caller, DIALECTS["responses"], **fields)
            assert DIALECTS["responses"].hear(got).text == "hello"
            assert await lane_of(gateway, got) == "translating"
            assert engine.turns[0].request.path == "/v1/chat/completions"


async def test_a_caller_that_wants_its_output_checked_is_translated(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("{}")
        caller = await gateway.connect()
        wanted = {"type": "json_object"}
        got = await ask(caller, DIALECTS["openai"], "X-Mrproxy-Validate: 1", response_format=wanted)
        assert DIALECTS["openai"].hear(got).text == "{}"
        assert await lane_of(gateway, got) == "translating"


async def test_embeddings_are_translated_between_openai_and_ollama_and_not_offered_by_anthropic(tmp_path: Path) -> None:
    async with (
        run_engine("engine-v", models=["v"]) as vllm,
        run_engine("engine-o", "ollama", models=["o"]) as ollama,
        run_engine("engine-n", "anthropic", models=["n"]) as anthropic,
        run_gateway(tmp_path, vllm, ollama, anthropic) as gateway,
    ):
        vllm.behaviour = ollama.behaviour = speaks()
        caller = await gateway.connect()

        async def embed(path: str, model: str) -> Answer:
            await caller.send(request(path, json.dumps({"model": model, "input": ["hi"]}).encode()))
            return await caller.read_answer()

        for path, model, lane, asked in (
            ("/v1/embeddings", "v", "straight", "/v1/embeddings"),
            ("/api/embed", "v", "translating", "/v1/embeddings"),
            ("/v1/embeddings", "o", "straight", "/v1/embeddings"),
            ("/api/embed", "o", "straight", "/api/embed"),
        ):
            got = await embed(path, model)
            assert got.headers["x-mrproxy-lane"] == lane
            value = got.json
            assert (value["embeddings"][0] if path == "/api/embed" else value["data"][0]["embedding"]) == [0.5, 0.25]
            engine = vllm if model == "v" else ollama
            assert engine.turns[-1].request.path == asked
        for path in ("/v1/embeddings", "/api/embed"):
            got = await embed(path, "n")
            assert got.status == 400
        assert not anthropic.turns
        records = await gateway.wait_records(6)
        assert [record.lane for record in records[:4]] == ["straight", "translating", "straight", "straight"]
        assert {(record.prompt_tokens, record.completion_tokens) for record in records[:4]} == {(5, None)}


async def test_an_engine_of_another_dialect_gets_its_own_credentials_and_nothing_of_the_callers(tmp_path: Path) -> None:
    async with run_engine("engine-a", "anthropic") as engine:
        backend = Backend(
            kind="anthropic", url=engine.url, name="engine-x", api_key="backends-key", aliases={"public": "m"}
        )
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            engine.behaviour = speaks("hello")
            caller = await gateway.connect()
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            lines = (f"traceparent: {trace}", "Cookie: c=1", "User-Agent: sdk", "X-Stainless-Lang: python")
            got = await ask(caller, DIALECTS["openai"], *lines, model="public")
            assert got.json["model"] == "public"
            asked = engine.turns[0].request
            assert asked.json["model"] == "m"
            assert asked.headers["x-api-key"] == "backends-key"
            record = await gateway.last_record()
            assert record.traceparent == trace
            assert asked.headers["traceparent"] == traceparent_onwards(trace, record.request_id)
            assert asked.headers["anthropic-version"]
            assert not {"authorization", "cookie", "x-stainless-lang"} & asked.headers.keys()


# An engine that refuses, before the first byte

OPENAI_ERROR = b'{"error":{"message":"the prompt is too long","type":"BadRequestError","code":400}}'
VLLM_ERROR = b'{"object":"error","message":"the prompt is too long","type":"BadRequestError","code":400}'
ANTHROPIC_ERROR = (
    b'{"type":"error","error":{"type":"invalid_request_error","message":"the prompt is too long"},"request_id":"r"}'
)
OLLAMA_ERROR = b'{"error":"the prompt is too long"}'
FASTAPI_ERROR = b'{"detail":[{"loc":["body"],"msg":"the prompt is too long"}]}'
PAGE = b"<html><body><h1>502 Bad Gateway</h1><script>secret</script></body></html>"


@STREAM
@PAIRS
async def test_an_engines_refusal_is_said_in_the_callers_dialect(
    tmp_path: Path, name: str, kind: str, *, stream: bool
) -> None:
    bodies = {"vllm": VLLM_ERROR, "ollama": OLLAMA_ERROR, "anthropic": ANTHROPIC_ERROR}
    dialect = DIALECTS[name]
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for number, status in enumerate((400, 500, 503, 429), 1):
            lines = ("Retry-After: 7",) if status == 429 else ()
            engine.script(answer(sized(bodies[kind], *lines, status=status)))
            got = await ask(caller, dialect, stream=stream)
            assert (got.status, dialect.hear(got, stream=stream).error) == (status, "the prompt is too long")
            assert got.headers.get("retry-after") == {429: "7", 503: "1"}.get(status)
            record = (await gateway.wait_records(number))[-1]
            assert (record.status, record.attempts, record.usage_state) == (status, 1, "absent")
            assert record.lane == "translating"
        assert {id(turn.connection) for turn in engine.turns} == {id(engine.turns[0].connection)}


async def test_an_engines_words_are_found_whatever_it_is_behind(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for body in (OPENAI_ERROR, VLLM_ERROR, ANTHROPIC_ERROR, OLLAMA_ERROR, FASTAPI_ERROR):
            engine.script(answer(sized(body, status=400)))
            got = await ask(caller, DIALECTS["anthropic"])
            assert got.json["error"] == {"type": "invalid_request_error", "message": "the prompt is too long"}


@STREAM
async def test_a_page_is_not_quoted(tmp_path: Path, *, stream: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, breaker_min_requests=1000) as gateway:
        caller = await gateway.connect()
        for status in (400, 404, 500, 502, 503):
            for body in (PAGE, b"", b"\xff\xfe", b"[1]", b'{"error":{}}'):
                head = b"HTTP/1.1 %d X\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
                engine.script(answer(head % (status, len(body)) + body))
                got = await ask(caller, DIALECTS["ollama"], stream=stream)
                assert (got.status, got.json) == (status, {"error": f"the backend answered {status}"})


# Retries on a backend of another kind


COUNTS = {"engine-a": (11, 2), "engine-b": (22, 3)}


def fails_in_turns(fault: Behaviour, *engines: FakeEngine) -> list[str]:
    """Three requests in turns: a fails and b serves; a serves; b fails and a serves. Who serves says its name.

    The list is who was asked, in order."""
    asked: list[str] = []

    def behaviour(name: str) -> Behaviour:
        async def behave(turn: Turn) -> None:
            asked.append(name)
            await (fault if len(asked) in (1, 4) else speaks("from ", name, counts=COUNTS[name]))(turn)

        return behave

    for engine in engines:
        engine.behaviour = behaviour(engine.name)
    return asked


@STREAM
@pytest.mark.parametrize("fault", [answer_status(503), reset(b"HTTP/1.1 200")], ids=["503", "reset"])
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("openai", ("vllm", "anthropic")),
        ("openai", ("ollama", "anthropic")),
        ("anthropic", ("anthropic", "ollama")),
        ("anthropic", ("vllm", "ollama")),
        ("responses", ("vllm", "anthropic")),
        ("ollama", ("vllm", "ollama")),
        ("ollama", ("anthropic", "vllm")),
        ("generate", ("ollama", "vllm")),
    ],
)
async def test_a_backend_of_another_kind_takes_over_before_the_first_byte(
    tmp_path: Path, name: str, kinds: tuple[str, str], fault: Behaviour, *, stream: bool
) -> None:
    """In both orders: from lane to lane, or from one translation to another."""
    async with (
        run_engine("engine-a", kinds[0]) as a,
        run_engine("engine-b", kinds[1]) as b,
        run_gateway(
            tmp_path, a, b, retry_budget_percent=100, placement="round_robin", breaker_min_requests=1000
        ) as gateway,
    ):
        asked = fails_in_turns(fault, a, b)
        caller = await gateway.connect()
        for number in (1, 2, 3):
            got = await ask(caller, DIALECTS[name], stream=stream)
            served = got.headers["x-mrproxy-backend"]
            heard = DIALECTS[name].hear(got, stream=stream)
            assert (heard.text, heard.error) == (f"from {served}", None)
            record = (await gateway.wait_records(number))[-1]
            assert (record.backend, record.lane) == (served, got.headers["x-mrproxy-lane"])
            assert (record.prompt_tokens, record.completion_tokens) == COUNTS[served]
            assert (record.attempts, record.usage_state) == (1 if number == 2 else 2, "exact")
        assert asked in (["engine-a", "engine-b"] * 2 + ["engine-a"], ["engine-b", "engine-a"] * 2 + ["engine-b"])


async def test_the_warnings_are_those_of_the_attempt_that_served(tmp_path: Path) -> None:
    """Anthropic's API has no seed; vLLM's has."""
    async with (
        run_engine("engine-a", "vllm") as a,
        run_engine("engine-b", "anthropic") as b,
        run_gateway(
            tmp_path, a, b, retry_budget_percent=100, placement="round_robin", breaker_min_requests=1000
        ) as gateway,
    ):
        fails_in_turns(answer_status(503), a, b)
        caller = await gateway.connect()
        served = []
        for _ in range(3):
            got = await ask(caller, DIALECTS["openai"], seed=1)
            served.append(got.headers["x-mrproxy-backend"])
            has_warning = "seed" in got.headers.get("warning", "")
            assert has_warning == (got.headers["x-mrproxy-lane"] == "translating")
        assert set(served) == {"engine-a", "engine-b"}
        assert [record.attempts for record in await gateway.wait_records(3)] == [2, 1, 2]


async def test_a_request_that_one_kind_cannot_be_asked_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await ask(caller, DIALECTS["openai"], n=2)
        assert (got.status, got.json["error"]["param"]) == (400, "n")
        assert not engine.turns
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (400, "invalid_field", "absent")
        assert DIALECTS["openai"].hear(await ask_well(engine, caller)).text == "hello"


async def ask_well(engine: FakeEngine, caller: Caller) -> Answer:
    engine.behaviour = speaks("hello")
    return await ask(caller, DIALECTS["openai"])


# Warnings


@pytest.mark.parametrize(
    "field", ['a"b', "a\\b", "a\r\nx-evil: 1", "\u00e9\u4e2d", "a\x00b", "x" * 5000, 'a, 299 - "b"', ""]
)
async def test_a_warning_is_one_well_formed_header_whatever_the_field_is_called(tmp_path: Path, field: str) -> None:
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        for stream in (False, True):
            got = await ask(caller, DIALECTS["openai"], stream=stream, **{field: 1})
            assert DIALECTS["openai"].hear(got, stream=stream).text == "hello"
            one = r'299 mrproxy "[ !#-\[\]-~]{0,300}"'
            assert re.fullmatch(f"{one}(, {one})*", got.headers["warning"]), got.headers["warning"]
            assert "x-evil" not in got.headers


async def test_many_warnings_do_not_make_a_head_that_proxies_refuse(tmp_path: Path) -> None:
    """nginx takes 4 KiB of head (`proxy_buffer_size`), Python's http.client 100 lines."""
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        fields: dict[str, Any] = {f"field_{number}" + "x" * 300: number for number in range(500)}
        got = await ask(caller, DIALECTS["openai"], **fields)
        assert DIALECTS["openai"].hear(got).text == "hello"
        head = got.raw.partition(b"\r\n\r\n")[0]
        assert len(head) < 4096
        assert head.count(b"\r\n") < 50
        assert "more" in got.headers["warning"]
