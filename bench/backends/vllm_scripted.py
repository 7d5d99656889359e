"""Pure. A script in vLLM's words: the events of each token, the closing events, and the whole answer.

Source as in `vllm.py`; tool calls: tool_parsers/hermes_tool_parser.py (id, type and name first, then arguments by
index); `finish_reason` is "stop" after a named `tool_choice`, as OpenAI's; `completion_tokens_details` since 0.14.
What other servers of this API do differently is `--tool-style`: see `settings.py`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.backends.prompts import Prompt
from bench.backends.scripts import CALL, STOP, STOP_SEQUENCE, TEXT, TOOL_CALLS, Script, Token
from bench.backends.vllm_shapes import Shape, sse_event, usage_of
from bench.backends.work import Closing, Timing

Json = dict[str, Any]
_LOGPROB = -0.25


def count_cached(prompt_tokens: int, script: Script) -> int:
    """How much of the prompt came out of the prefix cache: half of it, where the prompt says so."""
    return prompt_tokens // 2 if script.is_cached else 0


def usage_of_script(prompt_tokens: int, sent: int, script: Script, choices: int) -> Json:
    usage = usage_of(prompt_tokens, sent)
    if script.is_cached:
        usage["prompt_tokens_details"] = {"cached_tokens": count_cached(prompt_tokens, script)}
    if script.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": script.reasoning_tokens * choices}
    return usage


def finish_reason(script: Script) -> str:
    if script.finish == TOOL_CALLS and script.is_named:
        return STOP
    return STOP if script.finish == STOP_SEQUENCE else script.finish


def call_id(work_id: str, number: int) -> str:
    return f"chatcmpl-tool-{work_id.rpartition('-')[2]}{number:02x}"


def openings(shape: Shape, choices: int) -> list[Json]:
    """The role chunk of each choice."""
    (opening,) = shape.opening
    return [opening | {"choices": [opening["choices"][0] | {"index": index}]} for index in range(choices)]


def chat_events(
    shape: Shape, script: Script, prompt: Prompt, tool_style: str, reasoning_field: str
) -> tuple[tuple[bytes, ...], ...]:
    """Per token, and with n > 1 per token of each choice in turn, what goes out."""
    tokens = _interleave(script.tokens) if tool_style == "interleaved" else script.tokens
    made: list[tuple[bytes, ...]] = []
    for token in tokens:
        if token.kind == CALL:
            delta = tool_delta(tool_style, script, token, call_id(shape.id, token.call))
        else:
            delta = {"content": token.text} if token.kind == TEXT else reasoning_fields(reasoning_field, token.text)
        indices = range(prompt.choices)
        made += [(_chat_event(shape, index, delta, token, prompt.logprobs),) if delta else () for index in indices]
    return tuple(made)


def reasoning_fields(reasoning_field: str, text: str) -> Json:
    return dict.fromkeys(("reasoning", "reasoning_content") if reasoning_field == "both" else (reasoning_field,), text)


def _chat_event(shape: Shape, index: int, delta: Json, token: Token, logprobs: int | None) -> bytes:
    choice = shape.token["choices"][0] | {"index": index, "delta": delta}
    if logprobs is not None and token.kind == TEXT:
        choice["logprobs"] = {"content": [_chat_logprob(token.text, logprobs)]}
    return sse_event(shape.token | {"choices": [choice]})


def _chat_logprob(text: str, alternatives: int) -> Json:
    shown = {"token": text, "logprob": _LOGPROB, "bytes": list(text.encode())}
    others = [shown | {"token": f"{text}{number}", "logprob": _LOGPROB - number} for number in range(1, alternatives)]
    return shown | {"top_logprobs": [shown, *others] if alternatives else []}


def _interleave(tokens: Sequence[Token]) -> list[Token]:
    """The same tokens, those of the calls one of each in turn."""
    ordered = [token for token in tokens if token.kind != CALL]
    queues = [deque(token for token in tokens if token.call == number) for number in range(len(tokens))]
    while any(queues):
        ordered += [queue.popleft() for queue in queues if queue]
    return ordered


def _delta(**fields: Any) -> Json:
    return {"tool_calls": [fields]}


def _fragments(script: Script, token: Token, call: str) -> Json:
    if not token.text:
        name = script.calls[token.call].name
        return _delta(id=call, type="function", index=token.call, function={"name": name})
    return _delta(index=token.call, function={"arguments": token.text})


def _idless(script: Script, token: Token, call: str) -> Json:
    if not token.text:
        return _fragments(script, token, call)
    return _delta(id=None, type=None, index=token.call, function={"name": None, "arguments": token.text})


def _anonymous(script: Script, token: Token, _call: str) -> Json:
    if not token.text:
        function = {"name": script.calls[token.call].name, "arguments": ""}
        return _delta(type="function", index=token.call, function=function)
    return _delta(index=token.call, function={"arguments": token.text})


def _whole(script: Script, token: Token, call: str) -> Json:
    if not token.is_last:
        return {}
    made = script.calls[token.call]
    function = {"name": made.name, "arguments": made.arguments}
    return _delta(id=call, type="function", index=token.call, function=function)


def _index0(script: Script, token: Token, call: str) -> Json:
    delta = _whole(script, token, call)
    for made in delta.get("tool_calls", ()):
        made["index"] = 0
    return delta


_TOOL_STYLES: dict[str, Callable[[Script, Token, str], Json]] = {
    "fragments": _fragments,
    "interleaved": _fragments,
    "idless": _idless,
    "anonymous": _anonymous,
    "whole": _whole,
    "index0": _index0,
}


def tool_delta(tool_style: str, script: Script, token: Token, call: str) -> Json:
    """The delta for a token of a call whose id is `call`; empty if there is nothing to send for it."""
    return _TOOL_STYLES[tool_style](script, token, call)


def text_events(shape: Shape, script: Script, prompt: Prompt, first_index: int, echo: bool) -> list[tuple[bytes, ...]]:
    """The same for a text completion; `first_index` is where this prompt's choices begin. An echo of the prompt comes
    with the first token."""
    made: list[tuple[bytes, ...]] = []
    offset, said = len(prompt.conversation.text), prompt.conversation.text if echo else ""
    for number, token in enumerate(script.tokens):
        for index in range(first_index, first_index + prompt.choices):
            choice = shape.token["choices"][0] | {"index": index, "text": token.text if number else said + token.text}
            if prompt.logprobs is not None:
                choice["logprobs"] = _text_logprobs([token], prompt.logprobs, offset)
            made.append((sse_event(shape.token | {"choices": [choice]}),))
        offset += len(token.text)
    return made


def _text_logprobs(tokens: Iterable[Token], alternatives: int, offset: int) -> Json:
    made: Json = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    for token in tokens:
        made["text_offset"].append(offset)
        made["token_logprobs"].append(_LOGPROB)
        made["tokens"].append(token.text)
        others = {f"{token.text}{number}": _LOGPROB - number for number in range(1, alternatives)}
        made["top_logprobs"].append({token.text: _LOGPROB} | others)
        offset += len(token.text)
    return made


def closing_of(
    shape: Shape, scripts: Sequence[Script], choices: int, usage: Callable[[int], Json] | None
) -> Callable[[Timing, int], Closing]:
    """One finish event per choice, the usage event if asked for, and the end."""

    def close(_timing: Timing, sent: int) -> Closing:
        events = []
        for number, script in enumerate(scripts):
            for index in range(number * choices, (number + 1) * choices):
                value = shape.finish(finish_reason(script))
                value["choices"][0] |= {"index": index, "stop_reason": script.stop_sequence}
                events.append(sse_event(value))
        if usage is None:
            return Closing((*events, b"data: [DONE]\n\n"))
        event = sse_event(shape.usage_chunk | {"usage": usage(sent)})
        return Closing((*events, event, b"data: [DONE]\n\n"), len(events))

    return close


def whole_chat(shape: Shape, script: Script, prompt: Prompt, reasoning_field: str, usage: Json) -> Json:
    """The answer as one document."""
    value = shape.whole(script.text, finish_reason(script), usage)
    last = value["choices"][0] | {"stop_reason": script.stop_sequence}
    message = last["message"]
    if script.thinking:
        message |= reasoning_fields(reasoning_field, script.thinking)
    if script.whole_calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [
            {
                "id": call_id(shape.id, number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in script.whole_calls
        ]
    if prompt.logprobs is not None:
        shown = [_chat_logprob(token.text, prompt.logprobs) for token in script.tokens if token.kind == TEXT]
        last["logprobs"] = {"content": shown}
    value["choices"] = [last | {"index": index} for index in range(prompt.choices)]
    value["usage"] |= usage
    return value


def whole_text(shape: Shape, scripts: Sequence[Script], prompts: Sequence[Prompt], echo: bool, usage: Json) -> Json:
    value = shape.whole("", STOP, usage)
    choices = []
    for script, prompt in zip(scripts, prompts, strict=True):
        said = prompt.conversation.text if echo else ""
        last = value["choices"][0] | {"text": said + script.text, "finish_reason": finish_reason(script)}
        last["stop_reason"] = script.stop_sequence
        if prompt.logprobs is not None:
            last["logprobs"] = _text_logprobs(script.tokens, prompt.logprobs, len(prompt.conversation.text))
        choices += [last] * prompt.choices
    value["choices"] = [choice | {"index": index} for index, choice in enumerate(choices)]
    value["usage"] |= usage
    return value
