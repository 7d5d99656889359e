"""docs/api.md is what the tables say."""

from pathlib import Path

from mrproxy.control.api.reference import INTRODUCTION, reference
from mrproxy.control.assembly import tables
from tests.control.api.conftest import NOW
from tests.fakes.log import MemoryLog

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def test_the_file_is_in_step():
    written = reference(tables(lambda: NOW, MemoryLog()))
    assert DOCS.read_text() == written, "run: python -m mrproxy.control > docs/api.md"


def test_every_endpoint_has_a_line():
    apis = tables(lambda: NOW, MemoryLog())
    lines = reference(apis).removeprefix(INTRODUCTION).splitlines()
    named = [line for line in lines if line.startswith(("| `GET ", "| `POST ", "| `PUT ", "| `PATCH ", "| `DELETE "))]
    assert len(named) >= sum(len(api.endpoints) for api in apis)
