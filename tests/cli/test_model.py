"""Shell. `mrproxy model`, against an API that a test has scripted."""

import json

import pytest

from tests.fakes.api_server import page, problem

MODEL = {"name": "org/m", "source": "managed", "budget_weight": 2.0, "prompt_price": 150_000, "completion_price": None}


def test_prices_are_in_the_currency_and_millionths_in_json(api, run):
    api.answers["GET /models"] = page(MODEL)
    header, row = [line.split("\t") for line in run("model", "list").stdout.splitlines()]
    assert dict(zip(header, row, strict=True))["prompt_price"] == "0.15"
    assert json.loads(run("model", "list", "--json").stdout) == [MODEL]


def test_a_model_is_changed_or_made(api, run):
    api.answers["PATCH /models/org/m"] = [MODEL, problem(404, "not-found", "There is nothing here")]
    api.answers["POST /models"] = MODEL
    words = ["model", "set", "org/m", "--weight=2", "--prompt-price=0.15", "--completion-price=none"]
    assert (run(*words).exit_code, run(*words).exit_code) == (0, 0)
    wanted = {"budget_weight": 2.0, "prompt_price": 150_000, "completion_price": None}
    assert api.bodies("PATCH") == [wanted, wanted]
    assert api.bodies("POST") == [{"name": "org/m", **wanted}]


def test_other_refusals_make_nothing(api, run):
    api.answers["PATCH /models/m"] = problem(409, "configured", "It is set in the configuration")
    result = run("model", "set", "m", "--weight=1")
    assert (result.exit_code, api.bodies("POST")) == (1, [])


@pytest.mark.parametrize("price", ["dear", "-1", "0.0000001", "NaN", "Infinity"])
def test_what_is_no_price_is_a_usage_error(api, run, price):
    assert run("model", "set", "m", f"--prompt-price={price}").exit_code == 2


def test_a_model_is_forgotten(api, run):
    api.answers["DELETE /models/org/m"] = {}
    assert run("model", "delete", "org/m").stdout == "org/m: weighs 1 and costs nothing\n"
