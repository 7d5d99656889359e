"""options, format, think and keep_alive. Shapes: ollama docs/api.md and api/types.go, v0.17.4 (February 2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import ChatRequest, FormatKind, ResponseFormat, Sampling, ThinkingWish
from mrproxy.dialects.codec import Target
from mrproxy.dialects.ollama.fields import Fields
from mrproxy.dialects.ollama.wishes import (
    is_zero,
    read_format,
    read_keep_alive,
    read_options,
    read_think,
    write_extras,
    write_format,
    write_options,
    write_rest,
    write_sampling,
    write_think,
)
from mrproxy.errors import ClientError


def fields(**members: Any) -> Fields:
    return Fields(json.dumps(members).encode())


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def chat(**more: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(), **more)


def test_options_with_canonical_names_are_sampling_and_others_stay() -> None:
    options = read_options(
        fields(
            options={
                "num_keep": 5, "seed": 42, "num_predict": 100, "top_k": 20, "top_p": 0.9, "min_p": 0.0,
                "typical_p": 0.7, "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2,
                "presence_penalty": 1.5, "frequency_penalty": 1.0, "stop": ["\n", "user:"], "num_ctx": 1024,
                "num_gpu": 1, "use_mmap": None,
            },
            logprobs=True,
            top_logprobs=3,
        )
    )  # fmt: skip
    assert options.sampling == Sampling(
        0.8, 0.9, 20, 0.0, 0.7, 100, ("\n", "user:"), 42, 1.5, 1.0, 1.2, logprobs=True, top_logprobs=3
    )
    assert options.context_length == 1024
    assert options.engine_options == {"num_keep": raw(5), "repeat_last_n": raw(33), "num_gpu": raw(1)}


def test_one_stop_may_be_a_string_and_no_bound_is_none() -> None:
    options = read_options(fields(options={"stop": "x", "num_predict": -1, "seed": -1}))
    assert options.sampling == Sampling(stop=("x",))


@pytest.mark.parametrize("wrong", [{"temperature": "hot"}, {"top_k": [1]}, {"stop": 5}, {"num_ctx": "big"}, 5])
def test_options_of_the_wrong_type_are_refused(wrong: Any) -> None:
    with pytest.raises(ClientError) as caught:
        read_options(fields(options=wrong))
    assert (caught.value.param or "").startswith("options")


def test_a_format_is_a_word_or_a_schema() -> None:
    assert read_format(fields()) is read_format(fields(format="")) is read_format(fields(format=None)) is None
    assert read_format(fields(format="json")) == ResponseFormat(FormatKind.JSON_OBJECT)
    schema = {"type": "object"}
    assert read_format(fields(format=schema)) == ResponseFormat(FormatKind.JSON_SCHEMA, raw(schema))
    for wrong in ("yaml", 5, ["json"], True):
        with pytest.raises(ClientError):
            read_format(fields(format=wrong))


def test_thinking_is_a_switch_or_a_level() -> None:
    assert read_think(fields()) is None
    assert read_think(fields(think=True)) == ThinkingWish(enabled=True)
    assert read_think(fields(think=False)) == ThinkingWish(enabled=False)
    assert read_think(fields(think="low")) == ThinkingWish(enabled=True, effort="low")
    for wrong in ("", "much", 1):
        with pytest.raises(ClientError):
            read_think(fields(think=wrong))


@pytest.mark.parametrize("zero", [0, 0.0, -0, "0", "0s", "0m", "0h0m0s", "-0s", "0.0s", "0ms"])
def test_zero_in_any_notation_unloads(zero: Any) -> None:
    assert is_zero(read_keep_alive(fields(keep_alive=zero)))


@pytest.mark.parametrize("kept", [None, -1, 1, 0.5, "5m", "0m1s", "-1", "", "soon"])
def test_nothing_else_unloads(kept: Any) -> None:
    assert not is_zero(read_keep_alive(fields(keep_alive=kept)))


def test_a_duration_is_a_number_or_a_text() -> None:
    for wrong in (True, {}, []):
        with pytest.raises(ClientError):
            read_keep_alive(fields(keep_alive=wrong))


@pytest.mark.parametrize(
    ("configured", "is_fixed", "asked", "said", "warned"),
    [
        (None, True, None, None, False),
        (None, True, 512, 512, False),
        (4096, True, None, 4096, False),
        (4096, True, 4096, 4096, False),
        (4096, True, 512, 4096, True),
        (4096, False, None, 4096, False),
        (4096, False, 512, 512, False),
    ],
)
def test_the_configured_context_length_overrides_or_fills_in(
    configured: int | None, is_fixed: bool, asked: int | None, said: int | None, warned: bool
) -> None:
    for request in (chat(context_length=asked), chat(extras={"options": raw({"num_ctx": asked} if asked else {})})):
        warnings: list[str] = []
        options = write_options(request, Target("ollama", "m", configured, is_fixed), warnings)
        assert options.get("num_ctx") == said
        assert bool(warnings) is warned


def test_options_said_in_another_dialect_reach_the_engine_below_what_it_said_itself() -> None:
    request = chat(extras={"options": raw({"mirostat": 2, "num_keep": 1})}, engine_options={"num_keep": raw(4)})
    assert write_options(request, Target("ollama", "m"), []) == {"mirostat": raw(2), "num_keep": raw(4)}
    with pytest.raises(ClientError):
        write_options(chat(extras={"options": raw(5)}), Target("ollama", "m"), [])


def test_more_than_one_answer_or_less_than_one_token_is_refused() -> None:
    for sampling, param in ((Sampling(n=2), "n"), (Sampling(max_tokens=0), "max_tokens")):
        with pytest.raises(ClientError) as caught:
            write_sampling(sampling, {}, {}, [])
        assert caught.value.param == param


def test_sampling_goes_to_options_logprobs_beside_them_and_bias_nowhere() -> None:
    options: dict[str, object] = {}
    body: dict[str, object] = {}
    warnings: list[str] = []
    sampling = Sampling(n=1, max_tokens=5, repetition_penalty=1.5, stop=("x",), logit_bias=raw({}), logprobs=True)
    write_sampling(sampling, options, body, warnings)
    assert options == {"num_predict": 5, "repeat_penalty": 1.5, "stop": ("x",)}
    assert body == {"logprobs": True}
    assert warnings == ["logit_bias is ignored: Ollama has none"]


def test_formats_become_a_word_or_a_schema() -> None:
    def written(wanted: ResponseFormat | None) -> tuple[object, int]:
        body: dict[str, object] = {}
        warnings: list[str] = []
        write_format(wanted, body, warnings)
        return body.get("format"), len(warnings)

    assert written(None) == written(ResponseFormat(FormatKind.TEXT)) == (None, 0)
    assert written(ResponseFormat(FormatKind.JSON_OBJECT)) == ("json", 0)
    assert written(ResponseFormat(FormatKind.JSON_SCHEMA, raw({}), "name", strict=True)) == (raw({}), 0)
    assert written(ResponseFormat(FormatKind.JSON_SCHEMA, raw({}), description="d")) == (raw({}), 1)


@pytest.mark.parametrize(
    ("wish", "model", "think", "warned"),
    [
        (None, "qwen3", None, 0),
        (ThinkingWish(), "qwen3", None, 0),
        (ThinkingWish(enabled=True), "qwen3", True, 0),
        (ThinkingWish(enabled=False), "gpt-oss:20b", False, 0),
        (ThinkingWish(effort="none"), "qwen3", False, 0),
        (ThinkingWish(enabled=True, effort="low"), "gpt-oss:20b", "low", 0),
        (ThinkingWish(enabled=True, effort="low"), "qwen3", True, 1),
        (ThinkingWish(effort="minimal"), "gpt-oss", "low", 1),
        (ThinkingWish(effort="max"), "hf.co/x/GPT-OSS", "high", 1),
        (ThinkingWish(effort="wild"), "gpt-oss", True, 1),
        (ThinkingWish(enabled=True, budget_tokens=1024), "qwen3", True, 1),
    ],
)
def test_thinking_is_said_as_the_model_takes_it(
    wish: ThinkingWish | None, model: str, think: object, warned: int
) -> None:
    body: dict[str, object] = {}
    warnings: list[str] = []
    write_think(wish, model, body, warnings)
    assert body.get("think") == think
    assert len(warnings) == warned


def test_what_ollama_knows_of_the_rest_is_passed_and_the_others_are_warned_of() -> None:
    body: dict[str, object] = {"format": "json"}
    warnings: list[str] = []
    extras = {"truncate": raw(False), "format": raw("x"), "guided_json": raw({}), "options": raw({})}
    write_extras(extras, body, warnings)
    assert body == {"format": "json", "truncate": raw(False)}
    assert warnings == ["format is ignored: said otherwise", "guided_json is ignored: Ollama has no such field"]


def test_every_request_says_whether_it_streams() -> None:
    body: dict[str, object] = {}
    warnings: list[str] = []
    write_rest(chat(user="u", keep_alive=raw("5m"), extras={"keep_alive": raw(1)}), body, warnings)
    assert body == {"stream": False, "keep_alive": raw("5m")}
    assert warnings == ["user is ignored: Ollama has none", "keep_alive is ignored: said otherwise"]
