"""Who asks whom: the parameters of the tests."""

from collections.abc import Iterable

import pytest

from tests.matrix.callers.caller import Caller
from tests.matrix.callers.chat import Chat
from tests.matrix.callers.messages import Messages
from tests.matrix.callers.ollama import OllamaChat
from tests.matrix.callers.responses import Responses
from tests.matrix.callers.texts import Completions, Generate
from tests.matrix.engines import ENGINES, Engine

CALLERS: tuple[Caller, ...] = (Chat(), Responses(), Messages(), OllamaChat())
SHAPES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])


TEXT_CALLERS: tuple[Caller, ...] = (Completions(), Generate())
ALL_CALLERS = (*CALLERS, *TEXT_CALLERS)


def pairs(
    engines: Iterable[Engine] = ENGINES, *, needs: str = "", callers: Iterable[Caller] = CALLERS
) -> pytest.MarkDecorator:
    """`needs`: a feature that a caller must have words for; what becomes of the others' wishes is tested apart."""
    found = [
        pytest.param(caller, engine, id=f"{caller.name}-{engine.name}")
        for caller in callers
        for engine in engines
        if needs not in caller.lacks
    ]
    return pytest.mark.parametrize(("caller", "engine"), found)
