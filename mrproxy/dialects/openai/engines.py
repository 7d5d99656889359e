"""Pure. What the engines that speak OpenAI's dialect make of it: the same names, not the same abilities.

Sources: OpenAI API reference (2026); vLLM vllm/entrypoints/openai/chat_completion/protocol.py and
completion/protocol.py (2026); llama.cpp tools/server/README.md and server-common.cpp (2026).
"""

import msgspec

_EVERYWHERE = {
    name: name
    for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "n", "stop")
}


class Engine(msgspec.Struct, frozen=True):
    """`sampling`: canonical names → its own. `options`: Ollama's option names that it shares, → its own.

    is_template_based: a chat template of the model stands behind it, with `chat_template_kwargs` and thinking of
    earlier turns; without developer and refusal. has_named_tools: `tool_choice` may name a function.
    """

    label: str
    sampling: dict[str, str]
    chat_bound: str = "max_tokens"
    options: dict[str, str] = {}
    is_template_based: bool = True
    has_named_tools: bool = True
    has_files: bool = False
    has_suffix: bool = False
    has_echo: bool = True
    has_best_of: bool = False
    has_dimensions: bool = True
    thinking_budget: str | None = None
    text_format: str | None = None
    prompt_truncation: str | None = None


_OPENAI = Engine(
    label="OpenAI's API",
    sampling=_EVERYWHERE,
    chat_bound="max_completion_tokens",
    is_template_based=False,
    has_files=True,
    has_suffix=True,
    has_best_of=True,
)
_VLLM = Engine(
    label="vLLM",
    sampling=_EVERYWHERE | {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    text_format="response_format",
    prompt_truncation="truncate_prompt_tokens",
)
_LLAMACPP = Engine(
    label="llama.cpp",
    sampling=_EVERYWHERE
    | {"top_k": "top_k", "min_p": "min_p", "typical_p": "typical_p", "repetition_penalty": "repeat_penalty"},
    options={
        **{name: name for name in ("mirostat", "mirostat_tau", "mirostat_eta", "repeat_last_n")},
        "num_keep": "n_keep",
    },
    has_named_tools=False,
    has_echo=False,
    has_dimensions=False,
    thinking_budget="thinking_budget_tokens",
    text_format="json_schema",
)
_ENGINES = {"vllm": _VLLM, "llamacpp": _LLAMACPP}


def engine_of(kind: str) -> Engine:
    """Of a `Target.kind`. What is not known by name is taken for OpenAI's own: the strictest."""
    return _ENGINES.get(kind, _OPENAI)
