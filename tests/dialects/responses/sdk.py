"""The `openai` SDK as the judge of what we send: its types, strictly, and its stream accumulator."""

import json
from collections.abc import Iterable
from typing import Any, get_args

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

# The union alone would be tried from end to end for each event.
_EVENTS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
_response = TypeAdapter(Response)


def parse_stream(data: bytes) -> list[dict[str, Any]]:
    """The events' data; their names and framing are checked."""
    events = []
    for block in data.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        first, second = block.split("\n")
        event = json.loads(second.removeprefix("data: "))
        assert first == f"event: {event['type']}"
        events.append(event)
    assert data.endswith(b"\n\n") or not data
    return events


def check_events(events: Iterable[dict[str, Any]]) -> list[Any]:
    """Each is one of the SDK's event types, numbered without gaps."""
    parsed = []
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        parsed.append(_EVENTS[event["type"]].model_validate(event))
    return parsed


def check_response(document: dict[str, Any]) -> Response:
    return _response.validate_python(document)


def accumulate(events: Iterable[Any]) -> Response | None:
    """What `client.responses.stream` makes of them; None without a `response.completed`."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(event)
    found: Response | None = state._completed_response
    return found
