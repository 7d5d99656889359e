"""Pure. What a mock engine can be told at its start: one flat, frozen value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    kind: str  # vllm | llamacpp | ollama | anthropic
    models: tuple[str, ...]
    itl_seconds: float = 0.020  # between two tokens of a request when the batch is small
    prefill_seconds: float = 0.005  # before the first token, whatever the prompt
    prefill_tokens_per_second: float = 0.0  # 0: prompts cost nothing beyond prefill_seconds
    max_num_seqs: int = 256  # vLLM's --max-num-seqs; OLLAMA_NUM_PARALLEL per model for ollama
    queue_limit: int = 0  # OLLAMA_MAX_QUEUE (512 there); 0: no limit, as in vLLM
    pacing: str = "independent"  # each request its own clock, or "step": the whole batch at once, as engines really do
    batch_knee: int = 0  # up to this batch a step takes itl_seconds, beyond it grows in proportion; 0: never
    answer_tokens: int = 64  # when the request names no maximum
    json_seconds: float | None = None  # fixed time for answers that do not stream; None: prefill + tokens x itl
    load_seconds: float = 0.0  # ollama: to load a model
    keep_alive_seconds: float = 300.0  # ollama: OLLAMA_KEEP_ALIVE
    max_loaded_models: int = 3  # ollama: OLLAMA_MAX_LOADED_MODELS
    num_ctx: int = 4096  # ollama: OLLAMA_CONTEXT_LENGTH, for requests that name none
    embedding_dimensions: int = 8
    tool_style: str = "fragments"  # how calls are streamed on /v1/chat/completions: see TOOL_STYLES
    reasoning_field: str = "reasoning_content"  # vllm: "reasoning", "reasoning_content" or "both"
    native: tuple[str, ...] = ()  # other dialects it serves itself: "messages", "responses"
    seed: int = 1


# fragments: id, type and name, then arguments by index, as vLLM. whole: each call in one delta. index0: the same with
# index 0 for all, as Ollama's /v1 did. idless: fragments, whose later ones carry "id": null and "name": null, as
# SGLang. anonymous: no ids at all. interleaved: all calls begin, then their arguments take turns.
TOOL_STYLES = ("fragments", "whole", "index0", "idless", "anonymous", "interleaved")
REASONING_FIELDS = ("reasoning_content", "reasoning", "both")
NATIVE_DIALECTS = ("messages", "responses")


def step_seconds(settings: EngineSettings, batch: int) -> float:
    """Time of one decoding step of `batch` requests: flat while memory-bound, then growing with the batch."""
    if settings.batch_knee and batch > settings.batch_knee:
        return settings.itl_seconds * batch / settings.batch_knee
    return settings.itl_seconds


def prefill_seconds(settings: EngineSettings, prompt_tokens: int) -> float:
    if settings.prefill_tokens_per_second:
        return settings.prefill_seconds + prompt_tokens / settings.prefill_tokens_per_second
    return settings.prefill_seconds
