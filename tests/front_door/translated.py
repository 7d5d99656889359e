"""One gateway before an engine of each kind, for the tests that drive every engine through every SDK.

claude-mock   an Anthropic API               vllm-mock   a vLLM
llama-mock    an Ollama, its own lanes       llama-ctx   the same Ollama with a context length that only /api can
                                                         say, so that /v1 is translated, too
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.front_door.gateway import KEY, Gateway, backend_table, key_table, mock_control, run_gateway, run_mock

VLLM, OLLAMA, OLLAMA_CTX, CLAUDE = "vllm-mock", "llama-mock", "llama-ctx", "claude-mock"
MODELS = [VLLM, OLLAMA, OLLAMA_CTX, CLAUDE]
ENGINE_KEY = "sk-engine"
OTHER_KEY = "mr_front-door-grace"
ONCE_KEY = "mr_front-door-once"

# A test that breaks an engine on purpose must not open the breaker before the next test.
SETTINGS = """
breaker_failures = 1000
breaker_min_requests = 1000

[[users]]
name = "ada"

[[users]]
name = "grace"

[[users]]
name = "hurried"
"""
# Older Ollamas gave all calls of a /v1 stream the index 0, which no SDK can tell apart: newer ones do not.
OLLAMA_OPTIONS = (f"--model={OLLAMA}", f"--model={OLLAMA_CTX}", "--load-ms=1", "--tool-style=whole")
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
# The mock engines call the tools that the prompt names, with these arguments.
CALL = 'call:get_weather{"city": "Köln", "days": 2}'
CALL_TWICE = 'call:get_weather{"city": "Köln", "days": 2} call:get_weather{"city": "Rom", "days": 3}'
ARGUMENTS = {"city": "Köln", "days": 2}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
PNG_BYTES = 70


@dataclass(frozen=True)
class Engines:
    gateway: Gateway
    urls: dict[str, str]

    def url_of(self, model: str) -> str:
        return self.urls["ollama" if model in (OLLAMA, OLLAMA_CTX) else "anthropic" if model == CLAUDE else "vllm"]

    def break_next(self, model: str, kind: str, after_tokens: int = 3) -> None:
        """The next request to this model's engine meets this fault; headers of callers do not get so far."""
        mock_control(self.url_of(model), "faults", {"kind": kind, "count": 1, "after_tokens": after_tokens})

    def last_request(self, model: str) -> dict[str, Any]:
        """What a caller asked this model's engine last: path, headers, body. The gateway's own questions are none."""
        asked: Any = mock_control(self.url_of(model), "requests?last=50")
        ours = ("/tokenize", "/render", "/count_tokens")
        return [each for each in asked if each["method"] == "POST" and not each["path"].endswith(ours)][-1]


@contextmanager
def run_engines(directory: Path) -> Iterator[Engines]:
    with ExitStack() as stack:
        options = ("--answer-tokens=8", "--json-ms=1")
        urls = {
            "vllm": stack.enter_context(run_mock("vllm", directory, f"--model={VLLM}", *options)),
            "ollama": stack.enter_context(run_mock("ollama", directory, *OLLAMA_OPTIONS, *options)),
            "anthropic": stack.enter_context(run_mock("anthropic", directory, f"--model={CLAUDE}", *options)),
        }
        tables = [
            key_table(KEY, "ada"),
            key_table(OTHER_KEY, "grace"),
            key_table(ONCE_KEY, "hurried", requests_per_minute=1),
            backend_table("vllm", "vllm", urls["vllm"]),
            backend_table("ollama", "ollama", urls["ollama"]) + f'num_ctx = {{ "{OLLAMA_CTX}" = 8192 }}\n',
            backend_table("anthropic", "anthropic", urls["anthropic"], api_key=ENGINE_KEY),
        ]
        gateway = stack.enter_context(run_gateway(directory, "\n".join([SETTINGS, *tables])))
        yield Engines(gateway, urls)
