"""A model is a value."""

import dataclasses

import pytest

from mrproxy.canonical.models import Model


def test_a_model_does_not_change() -> None:
    model = Model("m", "vllm", 7)
    assert (model.entry, model.context_length, model.backends) == (None, None, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "n"  # type: ignore[misc]
    assert dataclasses.replace(model, backends=("a", "b")).backends == ("a", "b")
