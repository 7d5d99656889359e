"""Pure. vLLM's completions as JSON, chunk by chunk and whole. Sources and deviations: `vllm.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.backends.settings import EngineSettings
from bench.backends.work import TOKEN_TEXT, Counts, escape_template

_SLOT = "@@TOKEN@@"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of completion on the wire: its events while streaming, and its whole answer."""

    id: str
    opening: tuple[Json, ...]
    token: Json
    usage_chunk: Json
    finish: Callable[[str], Json]  # by finish reason
    whole: Callable[[str, str, Json], Json]  # by text, finish reason, usage


def chat_shape(work_id: str, model: str, now_utc: int) -> Shape:
    chat_id = f"chatcmpl-{work_id}"
    base: Json = {"id": chat_id, "object": "chat.completion.chunk", "created": now_utc, "model": model}
    choice: Json = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    opening = base | {"choices": [choice], "prompt_token_ids": None}
    token = base | {"choices": [choice | {"delta": {"content": _SLOT}, "token_ids": None}]}

    def finish(reason: str) -> Json:
        last = choice | {"delta": {"content": ""}, "finish_reason": reason, "stop_reason": None, "token_ids": None}
        return base | {"choices": [last]}

    def whole(text: str, reason: str, usage: Json) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
        message |= {"function_call": None, "reasoning": None}
        last = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        answer = base | {"object": "chat.completion", "choices": [last | {"token_ids": None}], "service_tier": None}
        answer |= {"system_fingerprint": None, "usage": usage | {"prompt_tokens_details": None}}
        return answer | {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}

    return Shape(chat_id, (opening,), token, base | {"choices": []}, finish, whole)


def text_shape(work_id: str, model: str, now_utc: int) -> Shape:
    text_id = f"cmpl-{work_id}"
    base: Json = {"id": text_id, "object": "text_completion", "created": now_utc, "model": model}
    choice: Json = {"index": 0, "text": _SLOT, "logprobs": None, "finish_reason": None, "stop_reason": None}
    choice |= {"prompt_token_ids": None, "token_ids": None}
    token = base | {"choices": [choice], "usage": None}

    def finish(reason: str) -> Json:
        return base | {"choices": [choice | {"text": "", "finish_reason": reason}], "usage": None}

    def whole(text: str, reason: str, usage: Json) -> Json:
        last = choice | {"text": text, "finish_reason": reason, "prompt_logprobs": None}
        answer = base | {"choices": [last], "service_tier": None, "system_fingerprint": None}
        return answer | {"usage": usage | {"prompt_tokens_details": None}, "kv_transfer_params": None}

    return Shape(text_id, (), token, base | {"choices": []}, finish, whole)


def usage_of(prompt_tokens: int, completion_tokens: int) -> Json:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "total_tokens": total, "completion_tokens": completion_tokens}


def model_card(model: str, max_model_len: int, now_utc: int) -> Json:
    allowed = ("allow_sampling", "allow_logprobs", "allow_view")
    denied = ("allow_create_engine", "allow_search_indices", "allow_fine_tuning")
    permission: Json = {"id": "modelperm-mock", "object": "model_permission", "created": now_utc}
    permission |= dict.fromkeys(allowed, True) | dict.fromkeys(denied, False)
    permission |= {"organization": "*", "group": None, "is_blocking": False}
    card = {"id": model, "object": "model", "created": now_utc, "owned_by": "vllm", "root": model, "parent": None}
    return card | {"max_model_len": max_model_len, "permission": [permission]}


def metrics_text(counts: Counts, settings: EngineSettings) -> bytes:
    """What `/metrics` says, as far as gateways look at it."""
    label = f'{{engine="0",model_name="{settings.models[0]}"}}'
    gauges = {
        "num_requests_running": counts.running,
        "num_requests_waiting": counts.waiting,
        "kv_cache_usage_perc": min(1.0, counts.running / settings.max_num_seqs),
    }
    totals = {"prompt_tokens_total": counts.prompt_tokens, "generation_tokens_total": counts.generation_tokens}
    lines = [f"# TYPE vllm:{name} gauge\nvllm:{name}{label} {float(value)}\n" for name, value in gauges.items()]
    lines += [f"# TYPE vllm:{name} counter\nvllm:{name}{label} {float(value)}\n" for name, value in totals.items()]
    return "".join(lines).encode()


def sse_event(value: Json) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def token_template(token: Json) -> bytes:
    return escape_template(sse_event(token)).replace(_SLOT.encode(), TOKEN_TEXT)
