"""Shell. `mrproxy backend`, against an API that a test has scripted."""

import json

import pytest

from tests.fakes.api_server import page

LIVE = {"state": "routable", "in_flight": 3, "max_concurrent": 64, "models": ["m", "n"]}
BACKEND = {"id": "b1", "name": "gpu-1", "source": "managed", "kind": "vllm", "url": "http://a", "is_enabled": True}


def test_the_list_shows_what_the_workers_say(api, run):
    rows = [BACKEND | {"live": LIVE}, BACKEND | {"name": "off", "is_enabled": False, "live": None, "models": None}]
    api.answers["GET /backends"] = page(*rows)
    header, first, second = [line.split("\t") for line in run("backend", "list").stdout.splitlines()]
    cells = dict(zip(header, first, strict=True))
    assert (cells["state"], cells["in_flight"], cells["models"]) == ("routable", "3", "m, n")
    assert dict(zip(header, second, strict=True))["state"] == "disabled"
    assert json.loads(run("backend", "list", "--json").stdout) == rows


@pytest.mark.parametrize(
    ("target", "kind", "url"),
    [
        ("vllm=http://a:1", "vllm", "http://a:1"),
        ("http://a:1", "auto", "http://a:1"),
        ("http://a:1/?x=y", "auto", "http://a:1/?x=y"),
    ],
)
def test_a_backend_is_added_as_serve_takes_it(api, run, target, kind, url):
    api.answers["POST /backends"] = BACKEND
    result = run("backend", "add", target, "--name=gpu-1", "--models=m, n", "--aliases=big=org/m", "--max-concurrent=8")
    assert result.exit_code == 0
    wanted = {"kind": kind, "url": url, "name": "gpu-1", "models": ["m", "n"], "aliases": {"big": "org/m"}}
    assert api.bodies("POST") == [wanted | {"max_concurrent": 8}]


def test_an_unknown_kind_is_a_usage_error(run, api):
    assert run("backend", "add", "oracle=http://a").exit_code == 2


def test_its_key_comes_from_a_file_and_is_shown_nowhere(api, run, tmp_path):
    api.answers |= {"POST /backends": BACKEND, "GET /backends/gpu-1": BACKEND, "PATCH /backends/b1": BACKEND}
    (tmp_path / "key").write_text("sk-1\n")
    result = run("backend", "add", "http://a", f"--api-key-file={tmp_path / 'key'}")
    assert "sk-1" not in result.output
    run("backend", "change", "gpu-1", "--api-key-file=-", text="sk-2\n")
    run("backend", "change", "gpu-1", "--no-api-key", "--max-concurrent=none", "--backend-url=http://b")
    assert [body["api_key"] for body in api.bodies("POST") + api.bodies("PATCH")] == ["sk-1", "sk-2", None]
    assert api.bodies("PATCH")[1] == {"api_key": None, "max_concurrent": None, "url": "http://b"}


@pytest.mark.parametrize(
    ("words", "target", "said"),
    [
        (["drain", "gpu-1"], "POST /backends/b1/drain", "gpu-1: drained"),
        (["drain", "gpu-1", "--undo"], "POST /backends/b1/undrain", "gpu-1: undrained"),
        (["undrain", "gpu-1"], "POST /backends/b1/undrain", "gpu-1: undrained"),
        (["enable", "gpu-1"], "POST /backends/b1/enable", "gpu-1: enabled"),
        (["disable", "gpu-1"], "POST /backends/b1/disable", "gpu-1: disabled"),
        (["remove", "gpu-1", "--yes"], "DELETE /backends/b1", "gpu-1: removed"),
    ],
)
def test_verbs_find_it_by_name(api, run, words, target, said):
    api.answers |= {"GET /backends/gpu-1": BACKEND, target: {"name": "gpu-1", "workers": {"w1": "ok"}}}
    result = run("backend", *words)
    assert (result.stdout, api.targets()[-1]) == (f"{said}\n", target)


def test_a_worker_that_was_not_told_is_an_error(api, run):
    api.answers["GET /backends/gpu-1"] = BACKEND
    api.answers["POST /backends/b1/drain"] = {"name": "gpu-1", "workers": {"w1": "ok", "w2": "no answer"}}
    result = run("backend", "drain", "gpu-1")
    assert result.exit_code == 1
    assert "worker w2: no answer" in result.stderr


def test_removing_asks_first(api, run):
    result = run("backend", "remove", "gpu-1", text="n\n")
    assert (result.exit_code, api.asked) == (1, [])
