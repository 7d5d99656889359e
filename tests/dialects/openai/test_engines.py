"""Engines with OpenAI's dialect differ."""

from mrproxy.dialects.openai.engines import engine_of


def test_an_unknown_engine_is_taken_for_openais_own() -> None:
    assert engine_of("openai") is engine_of("sglang")
    assert engine_of("vllm") is not engine_of("llamacpp")


def test_no_engine_reads_another_ones_words() -> None:
    assert "top_k" not in engine_of("openai").sampling
    assert engine_of("llamacpp").sampling["repetition_penalty"] == "repeat_penalty"
    assert engine_of("vllm").sampling["repetition_penalty"] == "repetition_penalty"
    assert engine_of("openai").chat_bound == "max_completion_tokens"
