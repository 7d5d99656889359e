"""The express way, watched: how often it was asked, and how often it served."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from mrproxy.express import ExpressWay


@dataclass
class Watched:
    """Of the requests since it was watched: `taken` went the express way; `declined` were looked at, and did not."""

    taken: int = 0
    declined: int = 0


@contextmanager
def watched_express() -> Iterator[Watched]:
    """To be entered before the worker is built, which hands the bound method on."""
    watched = Watched()
    take = ExpressWay.take

    def counted(self: ExpressWay, *arguments: Any) -> bool:
        is_taken = take(self, *arguments)
        watched.taken += is_taken
        watched.declined += not is_taken
        return is_taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExpressWay, "take", counted)
        yield watched
