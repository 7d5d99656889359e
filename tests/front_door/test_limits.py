"""What a database says of keys and groups, without one: its part of the snapshot is written by the test."""

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import anthropic
import httpx
import ollama
import openai
import pytest
from msgspec.structs import replace

from mrproxy.identity.digest import digest_key
from mrproxy.ledger.spent import read_spent
from mrproxy.link import publishing
from mrproxy.link.snapshot import GroupSpec, KeySpec, Limits, Managed, ModelSpec, UserSpec, write_managed
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Answer,
    Gateway,
    backend_table,
    eventually,
    key_table,
    run_gateway,
    run_mock,
)

pytestmark = pytest.mark.slow

SECRET = b"s" * 32
CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 5}
# The mock says how many tokens a request took; each of these is less than two of them.
SOON = 30
MILLION = 1_000_000


def key(name: str, user: str | None = "ada", **more: object) -> KeySpec:
    digest = digest_key(SECRET, name.encode()).hex()
    return KeySpec(digest[:12], name, digest, user, **more)  # type: ignore[arg-type]


KEYS = (
    key("plain"),
    key("revoked"),
    key("administrator", scopes=("admin",)),
    key("elsewhere", addresses=("10.0.0.0/8",)),
    key("here", addresses=("127.0.0.0/8",)),
    key("month", limits=Limits(token_budget=SOON, budget_period="monthly")),
    key("weighed", user="bob"),
    key("hurried", limits=Limits(requests_per_minute=1)),
    key("pot one", user="eve"),
    key("pot two", user=None, group="lab"),
    key("summed", user="zoe", limits=Limits(token_budget=MILLION, budget_period="monthly")),
    key("pot of the summed", user=None, group="pool"),
)
MANAGED = Managed(
    generation=1,
    groups=(
        GroupSpec("lab", 3, shared=Limits(token_budget=SOON)),
        GroupSpec("pool", 3, shared=Limits(token_budget=MILLION)),
        GroupSpec("staff", 2),
    ),
    users=(
        UserSpec("zoe", "pool"),
        UserSpec("ada", "staff"),
        UserSpec("bob", "staff", limits=Limits(token_budget=1000)),
        UserSpec("eve", "lab"),
    ),
    keys=KEYS,
    models=(ModelSpec("heavy", 10.0),),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = ("--model=mock-8b", "--model=heavy", "--answer-tokens=5", "--json-ms=1")
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), *models) as url:
        yield url


@pytest.fixture(scope="module")
def gateways(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """One that enforces limits and trusts this machine as a proxy, and one that only watches them."""
    with ExitStack() as stack:
        found = {}
        for name, options in (("enforce", ["--trusted-proxies=127.0.0.1"]), ("shadow", ["--limits=shadow"])):
            directory = tmp_path_factory.mktemp(name)
            prepare(directory / "data")
            config = backend_table("mock", "vllm", engine) + key_table(KEY, "ada")
            gateway = run_gateway(directory, config, options=[*options, "--no-records", "--no-access-log"])
            found[name] = stack.enter_context(gateway)
        yield found


def prepare(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    (data_dir / "secret").write_bytes(SECRET)
    write_managed(data_dir / "managed.json", MANAGED)


@pytest.fixture
def gateway(gateways: dict[str, Gateway]) -> Gateway:
    return gateways["enforce"]


def chat(gateway: Gateway, name: str, model: str = "mock-8b", headers: dict[str, str] | None = None) -> Answer:
    return gateway.ask("POST", "/v1/chat/completions", {**CHAT, "model": model}, key=name, headers=headers)


def error_of(answer: Answer) -> tuple[int, str]:
    error = answer.json()
    assert isinstance(error, dict)
    return answer.status, str(error["error"]["code"])


# Each refusal, by the clients that people have


def test_a_key_without_the_scope_is_forbidden_in_each_dialect(gateway: Gateway):
    with gateway.open_openai("administrator") as client, pytest.raises(openai.PermissionDeniedError) as by_openai:
        client.chat.completions.create(**CHAT)
    assert by_openai.value.code == "scope_forbidden"
    with gateway.open_openai("administrator") as client, pytest.raises(openai.PermissionDeniedError):
        client.models.list()
    with (
        anthropic.Anthropic(
            base_url=f"{gateway.url}/anthropic",
            api_key="administrator",
            max_retries=0,
            http_client=anthropic.DefaultHttpxClient(trust_env=False),
        ) as client,
        pytest.raises(anthropic.PermissionDeniedError, match="inference"),
    ):
        client.messages.create(**CHAT)
    with (
        gateway.open_ollama("administrator") as client,
        pytest.raises(ollama.ResponseError, match="scope") as by_ollama,
    ):
        client.chat(model="mock-8b", messages=MESSAGES)
    assert by_ollama.value.status_code == 403


def test_a_key_is_good_only_where_it_may_come_from(gateway: Gateway):
    assert error_of(chat(gateway, "elsewhere")) == (403, "address_forbidden")
    assert chat(gateway, "here").status == 200
    behind = chat(gateway, "elsewhere", headers={"X-Forwarded-For": "203.0.113.9, 10.1.2.3"})
    assert behind.status == 200
    assert gateway.record_of(behind.headers["x-request-id"]).client_address == "10.1.2.3"
    forged = chat(gateway, "elsewhere", headers={"X-Forwarded-For": "10.1.2.3, 203.0.113.9"})
    assert error_of(forged) == (403, "address_forbidden")


def test_nobody_is_believed_who_is_no_proxy(gateways: dict[str, Gateway]):
    answer = chat(gateways["shadow"], "elsewhere", headers={"X-Forwarded-For": "10.1.2.3"})
    assert error_of(answer) == (403, "address_forbidden")


@pytest.mark.parametrize(
    ("names", "words"), [(("pot one", "pot two"), "the group's"), (("month",) * 2, "the key's monthly")]
)
def test_pots_and_months_run_out(gateway: Gateway, names: tuple[str, str], words: str):
    statuses = [chat(gateway, names[0]).status for _ in range(4)]
    assert (statuses[0], statuses[-1]) == (200, 429)
    with gateway.open_openai(names[1]) as client, pytest.raises(openai.RateLimitError, match=words) as refused:
        client.chat.completions.create(**CHAT)
    assert refused.value.code == "insufficient_quota"  # as OpenAI says it


def test_a_heavy_model_is_charged_by_its_weight_and_the_journal_says_so(gateway: Gateway):
    light, heavy = (chat(gateway, "weighed", model) for model in ("mock-8b", "heavy"))
    record = gateway.record_of(heavy.headers["x-request-id"])
    assert record.charged_tokens == 10 * ((record.prompt_tokens or 0) + (record.completion_tokens or 0)) > 0
    assert gateway.record_of(light.headers["x-request-id"]).charged_tokens is None
    eventually(lambda: chat(gateway, "weighed", "heavy").status == 429 or None, "the budget does not run out")


# Shadow


def test_limits_that_are_only_watched_warn_and_count(gateways: dict[str, Gateway]):
    shadow = gateways["shadow"]
    first, second = chat(shadow, "hurried"), chat(shadow, "hurried")
    assert (first.status, second.status) == (200, 200)
    assert "warning" not in first.headers
    assert second.headers["warning"] == (
        '299 mrproxy "not enforced: Limit reached: the key may use 1 requests per minute."'
    )
    assert counters(shadow)["limit_shadow"] == {"request_limit": 1}
    wanted = 'mrproxy_limit_shadow_total{code="request_limit",worker="w1"} 1.0'
    eventually(lambda: wanted in shadow.ask("GET", "/metrics").body.decode() or None, "the metric is not there")
    assert error_of(chat(shadow, "administrator")) == (403, "scope_forbidden")


def counters(gateway: Gateway) -> dict[str, object]:
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "worker-w1.sock"))
    with httpx.Client(transport=transport, base_url="http://worker") as client:
        found: dict[str, object] = client.get("/counters").json()
        return found


# News


def test_a_revoked_key_stops_working_within_a_second_also_where_it_is_in_use(gateway: Gateway):
    body = json.dumps(CHAT).encode()
    with closing(http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)) as connection:

        def status() -> int:
            connection.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer revoked"})
            answer = connection.getresponse()
            answer.read()
            return answer.status

        assert [status() for _ in range(5)] == [200] * 5
        fewer = replace(MANAGED, generation=2, keys=(KEYS[0], *KEYS[2:]))
        write_managed(gateway.data_dir / "managed.json", fewer)
        publishing.publish(gateway.data_dir, 0.0)
        published_at = time.monotonic()
        eventually(lambda: status() == 401 or None, "the revoked key is still good", seconds=5)
        took_seconds = time.monotonic() - published_at
    assert chat(gateway, "plain").status == 200
    print(f"refused after {took_seconds:.2f} s")


def test_a_worker_that_starts_while_the_control_plane_hangs_serves_from_the_last_snapshot(gateway: Gateway):
    control = gateway.pid_of("control")
    os.kill(control, signal.SIGSTOP)
    try:
        former = gateway.pid_of("w1")
        os.kill(former, signal.SIGKILL)
        eventually(lambda: gateway.pid_of("w1") != former or None, "no new worker")

        def serves() -> bool | None:
            try:
                return chat(gateway, "plain").status == 200 or None
            except OSError:
                return None

        eventually(serves, "the new worker does not serve")
    finally:
        os.kill(control, signal.SIGCONT)


def test_budgets_agree_with_the_journal_to_the_token_after_every_death(gateway: Gateway):
    for number in range(12):
        answer = chat(gateway, "summed", ("mock-8b", "heavy")[number % 2])
        assert answer.status == 200
        if number % 4 == 3:
            gateway.record_of(answer.headers["x-request-id"])  # one that dies before has not written it
            former = gateway.pid_of("w1")
            os.kill(former, signal.SIGKILL)
            eventually(lambda former=former: gateway.pid_of("w1") != former or None, "no new worker")
            gateway.wait_until_ready()
    records = [record for record in gateway.records() if record.user == "zoe"]
    used = [(record.prompt_tokens or 0) + (record.completion_tokens or 0) for record in records]
    charged = [
        tokens if each.charged_tokens is None else each.charged_tokens
        for each, tokens in zip(records, used, strict=True)
    ]
    assert len(records) == 12
    assert sum(charged) > sum(used) > 0
    assert left(gateway, "summed") == left(gateway, "pot of the summed") == MILLION - sum(charged)
    spent = read_spent(gateway.data_dir / "journal")
    (month,) = spent.months.values()
    assert month.by_key_id[KEYS[-2].id] == spent.lifetime.by_group["pool"] == sum(charged)


def left(gateway: Gateway, name: str) -> int:
    """By what a prompt is told that is longer than any budget."""
    prompt = [{"role": "user", "content": "word " * MILLION}]
    answer = gateway.ask("POST", "/v1/chat/completions", {**CHAT, "messages": prompt}, key=name)
    found = re.search(r"budget of 1000000 tokens has (\d+) left", answer.body.decode())
    assert found is not None, answer
    return int(found[1])
