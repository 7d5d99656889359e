"""Pure. What a request will probably cost, in tokens, before any engine has seen it.

Prompt: its bytes over a ratio learnt per model. Completion: the lower of `max_tokens` and a learnt mean. Both are
exponentially weighted means over exact usage. It is an estimate for taking turns, never for billing: whatever it gets
wrong is charged or given back when the request settles.
Read next: `wdrr.py`, which charges it.
"""

_FIRST_BYTES_PER_TOKEN = 4.0  # English in a BPE vocabulary of 100,000, JSON framing included
_FIRST_COMPLETION_TOKENS = 256.0
_LEARNING_RATE = 1 / 16
# A data: image is a thousand bytes per token; one such request must not ruin the ratio for text.
_MOST_TOKENS_PER_BYTE = 1.0
_LEAST_TOKENS_PER_BYTE = 1 / 16


class _Learnt:
    __slots__ = ("completion_tokens", "tokens_per_byte")

    def __init__(self) -> None:
        self.tokens_per_byte = 1 / _FIRST_BYTES_PER_TOKEN
        self.completion_tokens = _FIRST_COMPLETION_TOKENS


class CostModel:
    """What is learnt, per model. Callers ask only for models that exist, so it stays small."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: dict[str, _Learnt] = {}

    def estimate(self, model: str, prompt_bytes: int, max_tokens: int | None) -> int:
        """Tokens of prompt and completion together; at least 1."""
        learnt = self._models.get(model)
        if learnt is None:
            learnt = self._models[model] = _Learnt()
        completion_tokens = learnt.completion_tokens
        if max_tokens is not None and max_tokens < completion_tokens:
            completion_tokens = max(0, max_tokens)
        return int(prompt_bytes * learnt.tokens_per_byte + completion_tokens) or 1

    def estimate_prompt(self, model: str, prompt_bytes: int) -> int:
        """Tokens of the prompt alone; at least 1."""
        learnt = self._models.get(model)
        tokens_per_byte = 1 / _FIRST_BYTES_PER_TOKEN if learnt is None else learnt.tokens_per_byte
        return int(prompt_bytes * tokens_per_byte) or 1

    def learn(self, model: str, prompt_bytes: int, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """From exact usage; None (absent) teaches nothing, and so does an empty prompt."""
        learnt = self._models.get(model)
        if learnt is None:
            learnt = self._models[model] = _Learnt()
        if prompt_tokens and prompt_bytes:
            seen = prompt_tokens / prompt_bytes
            if not _LEAST_TOKENS_PER_BYTE <= seen <= _MOST_TOKENS_PER_BYTE:
                seen = _LEAST_TOKENS_PER_BYTE if seen < _LEAST_TOKENS_PER_BYTE else _MOST_TOKENS_PER_BYTE
            learnt.tokens_per_byte += (seen - learnt.tokens_per_byte) * _LEARNING_RATE
        if completion_tokens is not None:
            learnt.completion_tokens += (completion_tokens - learnt.completion_tokens) * _LEARNING_RATE

    def bytes_per_token(self, model: str) -> float:
        learnt = self._models.get(model)
        return _FIRST_BYTES_PER_TOKEN if learnt is None else 1 / learnt.tokens_per_byte

    def mean_completion_tokens(self, model: str) -> float:
        learnt = self._models.get(model)
        return _FIRST_COMPLETION_TOKENS if learnt is None else learnt.completion_tokens
