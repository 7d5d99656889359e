"""What an engine was told, read out of the request that it got, whatever its dialect."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Heard:
    texts: list[tuple[str, str]] = field(default_factory=list)  # (role, text), in order; no empty ones
    tools: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)  # (id, name)
    thoughts: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)  # (id of the call, text)

    def say(self, role: str, content: Any) -> None:
        text = text_of(content)
        if text:
            self.texts.append((role, text))


def text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content if part["type"] in ("text", "input_text", "output_text"))


def hear(surface: str, body: Json) -> Heard:
    return {"chat": _hear_chat, "ollama": _hear_chat, "messages": _hear_messages, "responses": _hear_response}[surface](
        body
    )


def _hear_chat(body: Json) -> Heard:
    """Ollama's messages have the same names."""
    heard = Heard(tools=[tool["function"]["name"] for tool in body.get("tools") or ()])
    for message in body["messages"]:
        if message["role"] == "tool":
            heard.results.append((message.get("tool_call_id", ""), text_of(message["content"])))
            continue
        heard.say(message["role"], message.get("content"))
        heard.thoughts += [message[name] for name in ("reasoning_content", "thinking") if message.get(name)]
        heard.calls += [(call.get("id", ""), call["function"]["name"]) for call in message.get("tool_calls") or ()]
    return heard


def _hear_messages(body: Json) -> Heard:
    heard = Heard(tools=[tool["name"] for tool in body.get("tools") or ()])
    heard.say("system", body.get("system"))
    for message in body["messages"]:
        content = message["content"]
        heard.say(message["role"], content)
        for block in content if isinstance(content, list) else ():
            if block["type"] == "tool_use":
                heard.calls.append((block["id"], block["name"]))
            elif block["type"] == "thinking":
                heard.thoughts.append(block["thinking"])
            elif block["type"] == "tool_result":
                heard.results.append((block["tool_use_id"], text_of(block.get("content"))))
    return heard


def _hear_response(body: Json) -> Heard:
    heard = Heard(tools=[tool["name"] for tool in body.get("tools") or ()])
    heard.say("system", body.get("instructions"))
    for item in body["input"]:
        match item.get("type", "message"):
            case "message":
                heard.say(item["role"], item["content"])
            case "reasoning":
                heard.thoughts += [part["text"] for part in item["content"]]
            case "function_call":
                heard.calls.append((item["call_id"], item["name"]))
            case "function_call_output":
                heard.results.append((item["call_id"], text_of(item["output"])))
    return heard
