"""A decoded request, and the words that stand in the journal."""

import pytest

from mrproxy.canonical.request import FORMS, MEDIA, Operation, Request, Shape


@pytest.mark.parametrize(("shape", "streams"), [(Shape.JSON, False), (Shape.SSE, True), (Shape.NDJSON, True)])
def test_what_is_no_document_is_a_stream(shape: Shape, streams: bool) -> None:
    assert Request("m", b"{}", shape, 2, None, False).streams is streams


def test_operations_are_lower_case_words() -> None:
    assert all(operation == operation.lower() and operation.isidentifier() for operation in Operation)


def test_forms_are_among_what_passes_as_it_is() -> None:
    assert FORMS < MEDIA
    assert Operation.CHAT not in MEDIA
