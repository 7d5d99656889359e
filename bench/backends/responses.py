"""Pure. `POST /v1/responses` as an engine serves it itself: as much as a gateway needs to see that it may pass through.

Source: platform.openai.com/docs/api-reference/responses-streaming (read 2026-11), openai-python types/responses 3.52;
vLLM's keeps nothing by default, so `previous_response_id` leads nowhere. Every answer is scripted: the events carry a
`sequence_number`, which a template of stamps cannot count.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from bench.backends.faults import split_model
from bench.backends.heads import Heads
from bench.backends.prompt_tokens import count_values
from bench.backends.prompts import Conversation, Prompt, Refusal, image_url_size, refuses_malformed
from bench.backends.scripts import LENGTH, TEXT, THINKING, Script, Token, write_script
from bench.backends.work import Closing, Reply, Work
from bench.http1 import Request

Json = dict[str, Any]


class ResponsesRequest(msgspec.Struct):
    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = False
    max_output_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = "auto"
    parallel_tool_calls: bool | None = True
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None


_decode = msgspec.json.Decoder(ResponsesRequest).decode


@refuses_malformed
def read_prompt(wanted: ResponsesRequest) -> Prompt:
    heard = Conversation()
    heard.hear(wanted.instructions or "")
    items = [{"role": "user", "content": wanted.input}] if isinstance(wanted.input, str) else wanted.input
    for item in items:
        _hear(heard, item)
    tools = {str(tool.get("name")): tool.get("parameters") for tool in wanted.tools or () if tool["type"] == "function"}
    choice = wanted.tool_choice
    forced = choice.get("name") if isinstance(choice, dict) else "" if choice == "required" else None
    if forced is not None and (not tools or (forced and forced not in tools)):
        raise Refusal("tool_choice: no such tool", "tool_choice")
    output = (wanted.text or {}).get("format") or {}
    effort = (wanted.reasoning or {}).get("effort")
    return Prompt(
        heard,
        tools=tools,
        forced=forced,
        may_call=choice != "none",
        is_parallel=wanted.parallel_tool_calls is not False,
        effort="" if effort in (None, "none") else str(effort),
        schema=output.get("schema")
        if output.get("type") == "json_schema"
        else output.get("type") == "json_object" or None,
        limit=wanted.max_output_tokens,
    )


def _hear(heard: Conversation, item: dict[str, Any]) -> None:
    match item.get("type", "message"):
        case "message":
            text = _read_content(heard, item.get("content", ""))
            if item.get("role") == "user":
                heard.hear_user(text)
            else:
                heard.hear(text)
        case "function_call_output":
            heard.hear_result(_read_content(heard, item.get("output", "")))
        case "function_call" | "reasoning" | "item_reference":
            pass
        case other:
            raise Refusal(f"unknown input item type: {other!r}", "input")


def _read_content(heard: Conversation, content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        if part.get("type") == "input_image":
            heard.images.append(image_url_size(str(part.get("image_url")), "invalid image input"))
        texts.append(str(part.get("text", "")))
    return "".join(texts)


class Responses:
    def __init__(
        self,
        heads: Heads,
        resolve: Callable[[str], str | None],
        next_id: Callable[[], str],
        head_at_once: bool,
        num_ctx: int | None,
    ) -> None:
        self._heads = heads
        self._resolve = resolve
        self._next_id = next_id
        self._head_at_once = head_at_once
        self._num_ctx = num_ctx

    def create(self, request: Request, now_utc: int) -> Reply | Work:
        """Raises Refusal and msgspec's errors for what the engine answers with 400."""
        wanted = _decode(request.body)
        model = self._resolve(wanted.model)
        if model is None:
            raise Refusal(f"The model `{wanted.model}` does not exist.", "model", 404)
        if wanted.previous_response_id:
            raise Refusal(f"Response with id '{wanted.previous_response_id}' not found.", "previous_response_id", 404)
        script = write_script(read_prompt(wanted))
        prompt_tokens = count_values(wanted.input, wanted.instructions, wanted.tools, wanted.reasoning)
        shape = Shape(f"resp_{self._next_id()}", wanted, script, prompt_tokens, now_utc)
        opening, events, last = shape.stream()
        whole = self._heads.json(200, shape.response(is_done=True), now_utc).data
        return Work(
            model=split_model(model)[0],
            route=request.path.decode(),
            id=shape.id,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(script.tokens),
            stream=bool(wanted.stream),
            head=self._heads.stream("text/event-stream; charset=utf-8", now_utc),
            head_at_once=self._head_at_once,
            opening=opening,
            event=b"",
            is_dated=False,
            closing=lambda _timing, _sent: Closing(last),
            whole=lambda _timing, _sent: whole,
            fault=split_model(model)[1],
            script=events,
            failure=(_encode({"type": "error", "code": "server_error", "message": "mock fault: error_event"}),),
            cached_tokens=shape.cached_tokens,
            reasoning_tokens=script.reasoning_tokens,
            num_ctx=self._num_ctx,
        )


def _encode(value: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), msgspec.json.encode(value))


class Shape:
    """One response: its items, its events, its whole."""

    def __init__(
        self, response_id: str, wanted: ResponsesRequest, script: Script, prompt_tokens: int, now_utc: int
    ) -> None:
        self.id = response_id
        self._wanted = wanted
        self._script = script
        self._prompt_tokens = prompt_tokens
        self._created_at = now_utc
        self._sequence = 0
        self.cached_tokens = prompt_tokens // 2 if script.is_cached else 0

    def response(self, is_done: bool) -> Json:
        is_cut = self._script.finish == LENGTH
        status = ("incomplete" if is_cut else "completed") if is_done else "in_progress"
        wanted = self._wanted
        response: Json = {"id": self.id, "object": "response", "created_at": self._created_at, "status": status}
        response |= {"background": False, "error": None, "instructions": wanted.instructions}
        response["incomplete_details"] = {"reason": "max_output_tokens"} if is_done and is_cut else None
        response |= {"max_output_tokens": wanted.max_output_tokens, "metadata": wanted.metadata or {}}
        response |= {"model": wanted.model, "output": self._items() if is_done else []}
        response |= {"parallel_tool_calls": wanted.parallel_tool_calls, "previous_response_id": None}
        response |= {"reasoning": wanted.reasoning, "text": wanted.text, "tool_choice": wanted.tool_choice}
        response |= {"tools": wanted.tools or [], "temperature": 1.0, "top_p": 1.0, "truncation": "disabled"}
        return response | {"usage": self._usage() if is_done else None, "user": None}

    def _usage(self) -> Json:
        made = len(self._script.tokens)
        usage: Json = {
            "input_tokens": self._prompt_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
        }
        usage |= {"output_tokens": made, "total_tokens": self._prompt_tokens + made}
        return usage | {"output_tokens_details": {"reasoning_tokens": self._script.reasoning_tokens}}

    def _items(self) -> list[Json]:
        """A call that the limit cut off is there, incomplete, with the arguments so far."""
        groups = self._groups()
        return [self._item(index, group, is_done=True) for index, group in enumerate(groups)]

    def _groups(self) -> list[list[Token]]:
        """The tokens of each item."""
        return [list(group) for _, group in groupby(self._script.tokens, lambda token: (token.kind, token.call))]

    def _item(self, index: int, tokens: list[Token], is_done: bool) -> Json:
        first, text = tokens[0], "".join(token.text for token in tokens) if is_done else ""
        status = "completed" if is_done else "in_progress"
        if first.kind == THINKING:
            content = [{"type": "reasoning_text", "text": text}] if is_done else []
            return {"id": self._item_id("rs", index), "type": "reasoning", "summary": [], "content": content}
        if first.kind == TEXT:
            parts = [_text_part(text)] if is_done else []
            return {"id": self._item_id("msg", index), "type": "message", "role": "assistant", "status": status} | {
                "content": parts
            }
        is_whole = tokens[-1].is_last
        item: Json = {"id": self._item_id("fc", index), "type": "function_call", "arguments": text}
        item |= {"call_id": self._item_id("call", index), "name": self._script.calls[first.call].name}
        return item | {"status": "incomplete" if is_done and not is_whole else status}

    def _item_id(self, prefix: str, index: int) -> str:
        return f"{prefix}_{self.id.removeprefix('resp_')}{index}"

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        return _encode({"type": kind, "sequence_number": self._sequence - 1} | fields)

    def stream(self) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, ...], ...], tuple[bytes, ...]]:
        """(before the first token, per token, after the last)."""
        begun = self.response(is_done=False)
        opening = tuple(self._event(f"response.{kind}", response=begun) for kind in ("created", "in_progress"))
        made: list[tuple[bytes, ...]] = []
        for index, tokens in enumerate(self._groups()):
            begin = list(self._begin(index, tokens))
            for token in tokens:
                delta = self._delta(index, tokens[0], token)
                made.append((*begin, *delta))
                begin = []
            made[-1] += tuple(self._end(index, tokens))
        kind = "incomplete" if self._script.finish == LENGTH else "completed"
        return opening, tuple(made), (self._event(f"response.{kind}", response=self.response(is_done=True)),)

    def _begin(self, index: int, tokens: list[Token]) -> Iterator[bytes]:
        item = self._item(index, tokens, is_done=False)
        yield self._event("response.output_item.added", output_index=index, item=item)
        if tokens[0].kind == TEXT:
            where = {"item_id": item["id"], "output_index": index, "content_index": 0}
            yield self._event("response.content_part.added", **where, part=_text_part(""))

    def _delta(self, index: int, first: Token, token: Token) -> tuple[bytes, ...]:
        if not token.text:
            return ()
        if first.kind == TEXT:
            where = {"item_id": self._item_id("msg", index), "output_index": index, "content_index": 0}
            return (self._event("response.output_text.delta", **where, delta=token.text, logprobs=[]),)
        if first.kind == THINKING:
            where = {"item_id": self._item_id("rs", index), "output_index": index, "content_index": 0}
            return (self._event("response.reasoning_text.delta", **where, delta=token.text),)
        where = {"item_id": self._item_id("fc", index), "output_index": index}
        return (self._event("response.function_call_arguments.delta", **where, delta=token.text),)

    def _end(self, index: int, tokens: list[Token]) -> Iterator[bytes]:
        item = self._item(index, tokens, is_done=True)
        where = {"item_id": item["id"], "output_index": index}
        text = "".join(token.text for token in tokens)
        if tokens[0].kind == TEXT:
            yield self._event("response.output_text.done", **where, content_index=0, text=text, logprobs=[])
            yield self._event("response.content_part.done", **where, content_index=0, part=_text_part(text))
        elif tokens[0].kind == THINKING:
            yield self._event("response.reasoning_text.done", **where, content_index=0, text=text)
        else:
            name = item["name"]
            yield self._event("response.function_call_arguments.done", **where, name=name, arguments=text)
        yield self._event("response.output_item.done", output_index=index, item=item)


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
