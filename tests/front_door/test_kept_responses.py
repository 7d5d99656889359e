"""Responses and conversations outlast the processes that made them: judged by OpenAI's SDK, with workers killed."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import trio

from mrproxy.storage.migrate import migrate
from tests.fakes.postgres import postgres_server
from tests.front_door.gateway import KEY, Gateway, backend_table, eventually, key_table, run_gateway, run_mock
from tests.front_door.test_chaos import with_database

__all__ = ["postgres_server"]

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

MODEL = "mock-8b"
OTHER_KEY = "mr_front-door-bob"
SAME_USER_KEY = "mr_front-door-ada-too"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), f"--model={MODEL}", "--answer-tokens=4") as engine:
        keys = [key_table(KEY, "ada"), key_table(SAME_USER_KEY, "ada"), key_table(OTHER_KEY, "bob")]
        yield "\n".join([backend_table("mock-vllm", "vllm", engine), *keys])


@contextmanager
def before_a_database(url: str, config: str, directory: Path) -> Iterator[Gateway]:
    """Empty: SQLite's, in the directory."""
    options = []
    if url:
        trio.run(with_database, url, directory, migrate)
        options = [f"--database-url={url}"]
    with run_gateway(directory, config, options=options) as gateway:
        yield gateway


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest, config: str, tmp_path: Path) -> Iterator[Gateway]:
    """One per test: the supervisor starts a worker that is killed again and again ever later."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    with before_a_database(url, config, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with open_patient(gateway) as client:
        yield client


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def unharmed(
    request: pytest.FixtureRequest, config: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """For the tests that kill nobody."""
    url = request.getfixturevalue("postgres_server").create_database() if request.param == "postgresql" else ""
    with before_a_database(url, config, tmp_path_factory.mktemp("unharmed")) as gateway:
        yield gateway


@pytest.fixture
def calm(unharmed: Gateway) -> Iterator[openai.OpenAI]:
    with open_patient(unharmed) as client:
        yield client


def open_patient(gateway: Gateway, key: str = KEY) -> openai.OpenAI:
    """As users have it: the SDK tries again after a 503, which on a busy machine the database may be good for."""
    return gateway.open_openai(key).with_options(max_retries=5)


def kill_worker(gateway: Gateway) -> None:
    """And wait until another one serves."""
    pid = gateway.pid_of("w1")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gateway.pid_of("w1") != pid or None, "no other worker is started")
    gateway.wait_until_ready()


def text_of(item: object) -> str:
    return item.content[0].text  # type: ignore[attr-defined,no-any-return]


def create(client: openai.OpenAI, text: str, *, stream: bool = False, **fields: object):
    if not stream:
        return client.responses.create(model=MODEL, input=text, **fields)
    with client.responses.stream(model=MODEL, input=text, **fields) as events:
        return events.get_final_response()


@pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
def test_a_response_outlasts_the_worker_that_made_it(gateway: Gateway, client: openai.OpenAI, stream: bool) -> None:
    first = create(client, "How old are you? 👶", stream=stream, instructions="Be brief.")
    kill_worker(gateway)
    found = client.responses.retrieve(first.id)
    assert (found.id, found.output_text, found.instructions) == (first.id, first.output_text, "Be brief.")
    (item,) = client.responses.input_items.list(first.id).data
    assert text_of(item) == "How old are you? 👶"
    second = create(client, "And next year?", stream=stream, previous_response_id=first.id)
    assert second.usage.input_tokens > found.usage.input_tokens
    kill_worker(gateway)
    third = create(client, "And then?", stream=stream, previous_response_id=second.id)
    assert third.usage.input_tokens > second.usage.input_tokens
    # The first is deleted: what continues it does not care.
    client.responses.delete(first.id)
    kill_worker(gateway)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, "x", previous_response_id=first.id)
    assert caught.value.param == "previous_response_id"
    fourth = create(client, "And then?", stream=stream, previous_response_id=second.id)
    assert fourth.usage.input_tokens == third.usage.input_tokens


def test_a_response_that_is_deleted_before_its_worker_dies_stays_deleted(gateway: Gateway, client) -> None:
    response = create(client, "hi")
    client.responses.delete(response.id)
    kill_worker(gateway)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(response.id)


def test_an_item_of_a_response_of_a_dead_worker_may_be_referred_to(gateway: Gateway, client) -> None:
    response = create(client, "hi")
    kill_worker(gateway)
    reference = {"type": "item_reference", "id": response.output[0].id}
    again = client.responses.create(model=MODEL, input=[reference, {"role": "user", "content": "and?"}])
    items = client.responses.input_items.list(again.id, order="asc").data
    assert items[0].id == response.output[0].id


def test_nobody_else_finds_what_is_kept(gateway: Gateway, client) -> None:
    response = create(client, "secret")
    conversation = client.conversations.create(items=[{"role": "user", "content": "secret"}])
    (item,) = client.conversations.items.list(conversation.id).data
    kill_worker(gateway)
    with open_patient(gateway, OTHER_KEY) as other:
        for call in (
            lambda: other.responses.retrieve(response.id),
            lambda: other.responses.delete(response.id),
            lambda: other.responses.input_items.list(response.id),
            lambda: other.conversations.retrieve(conversation.id),
            lambda: other.conversations.update(conversation.id, metadata={"a": "b"}),
            lambda: other.conversations.delete(conversation.id),
            lambda: other.conversations.items.list(conversation.id),
            lambda: other.conversations.items.retrieve(item.id, conversation_id=conversation.id),
            lambda: other.conversations.items.delete(item.id, conversation_id=conversation.id),
            lambda: other.conversations.items.create(conversation.id, items=[{"role": "user", "content": "x"}]),
            lambda: create(other, "x", conversation=conversation.id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        with pytest.raises(openai.BadRequestError):
            create(other, "x", previous_response_id=response.id)
    with open_patient(gateway, SAME_USER_KEY) as same:
        assert same.responses.retrieve(response.id).id == response.id
        assert same.conversations.retrieve(conversation.id).id == conversation.id
        assert len(same.conversations.items.list(conversation.id).data) == 1


# Conversations


def test_a_conversation_is_made_changed_and_deleted(calm: openai.OpenAI) -> None:
    made = calm.conversations.create(
        metadata={"тема": "Schüssel 🥣"}, items=[{"role": "developer", "content": "Be brief."}]
    )
    assert (made.object, made.metadata) == ("conversation", {"тема": "Schüssel 🥣"})
    assert calm.conversations.retrieve(made.id) == made
    changed = calm.conversations.update(made.id, metadata={"a": "b"})
    assert (changed.id, changed.metadata, changed.created_at) == (made.id, {"a": "b"}, made.created_at)
    gone = calm.conversations.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError, match="not found"):
        calm.conversations.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        calm.conversations.items.list(made.id)
    with pytest.raises(openai.NotFoundError):
        create(calm, "x", conversation=made.id)


def test_items_are_added_listed_in_pages_and_removed(calm: openai.OpenAI) -> None:
    conversation = calm.conversations.create()
    texts = [f"part {number}" for number in range(7)]
    for start in (0, 4):
        added = calm.conversations.items.create(
            conversation.id, items=[{"role": "user", "content": text} for text in texts[start : start + 4]]
        )
        assert [text_of(item) for item in added.data] == texts[start : start + 4]
    listed = list(calm.conversations.items.list(conversation.id, limit=2, order="asc"))
    assert [text_of(item) for item in listed] == texts
    assert [text_of(item) for item in calm.conversations.items.list(conversation.id, limit=3)] == texts[::-1]
    one = calm.conversations.items.retrieve(listed[2].id, conversation_id=conversation.id)
    assert one == listed[2]
    assert calm.conversations.items.delete(one.id, conversation_id=conversation.id).id == conversation.id
    with pytest.raises(openai.NotFoundError):
        calm.conversations.items.retrieve(one.id, conversation_id=conversation.id)
    left = calm.conversations.items.list(conversation.id, order="asc")
    assert [text_of(item) for item in left] == [text for text in texts if text != "part 2"]
    with pytest.raises(openai.BadRequestError):
        calm.conversations.items.list(conversation.id, after=one.id)
    with pytest.raises(openai.BadRequestError, match="20"):
        calm.conversations.items.create(conversation.id, items=[{"role": "user", "content": "x"}] * 21)
    with pytest.raises(openai.BadRequestError, match="already"):
        calm.conversations.items.create(
            conversation.id, items=[{"type": "message", "id": listed[0].id, "role": "user", "content": "x"}]
        )


@pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
def test_a_response_goes_on_with_a_conversation_and_adds_to_it(calm: openai.OpenAI, stream: bool) -> None:
    conversation = calm.conversations.create(items=[{"role": "user", "content": "My name is Ada."}])
    alone = create(calm, "Who am I?")
    first = create(calm, "Who am I?", stream=stream, conversation=conversation.id)
    assert first.conversation.id == conversation.id
    assert first.usage.input_tokens > alone.usage.input_tokens
    # At once: what was answered is there.
    second = create(calm, "And now?", stream=stream, conversation={"id": conversation.id}, store=False)
    assert second.usage.input_tokens > first.usage.input_tokens
    items = list(calm.conversations.items.list(conversation.id, order="asc"))
    assert [text_of(item) for item in items] == [
        "My name is Ada.",
        "Who am I?",
        first.output_text,
        "And now?",
        second.output_text,
    ]
    assert items[2].id == first.output[0].id
    assert [item.role for item in items] == ["user", "user", "assistant", "user", "assistant"]
    assert calm.responses.retrieve(first.id).conversation.id == conversation.id
    with pytest.raises(openai.NotFoundError):
        calm.responses.retrieve(second.id)
    with pytest.raises(openai.BadRequestError, match="conversation"):
        create(calm, "x", previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError, match="Mutually exclusive"):
        create(calm, "x", previous_response_id=first.id, conversation=conversation.id)


def test_a_conversation_outlasts_the_worker_in_which_it_was_held(gateway: Gateway, client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    said = []
    for number in range(3):
        response = create(client, f"turn {number}", stream=bool(number % 2), conversation=conversation.id)
        said += [f"turn {number}", response.output_text]
        kill_worker(gateway)
    items = client.conversations.items.list(conversation.id, order="asc")
    assert [text_of(item) for item in items] == said


def test_clients_do_not_reach_the_workers_route(unharmed: Gateway) -> None:
    for headers in ({}, {"X-Forwarded-For": ""}, {"x_forwarded_for": "x"}):
        answer = unharmed.ask("POST", "/internal/state", {}, headers=headers)
        assert answer.status == 404


# Without a database


def test_without_the_database_only_what_needs_it_is_refused(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config) as gateway, gateway.open_openai() as client:
        kept = create(client, "hi")
        with open_patient(gateway) as patient:
            conversation = patient.conversations.create()
        kill_worker(gateway)
        with sqlite3.connect(gateway.data_dir / "mrproxy.db") as other:
            other.execute("BEGIN EXCLUSIVE")
            stored = create(client, "what is stored in memory needs nobody")
            assert client.responses.retrieve(stored.id).id == stored.id
            assert create(client, "more", previous_response_id=stored.id).status == "completed"
            assert create(client, "x", store=False).status == "completed"
            for call in (
                lambda: client.responses.create(model=MODEL, input="x", conversation=conversation.id),
                lambda: client.conversations.create(),
                lambda: client.conversations.items.list(conversation.id),
            ):
                with pytest.raises(openai.APIStatusError) as caught:
                    call()
                assert caught.value.status_code == 503
                assert int(caught.value.response.headers["retry-after"]) > 0
            other.rollback()
        other.close()
        eventually(lambda: is_found(client, kept.id), "what was kept is not found again")
        assert is_found(client, stored.id)
        kill_worker(gateway)
        assert is_found(client, stored.id)


def is_found(client: openai.OpenAI, response_id: str) -> bool | None:
    try:
        return client.responses.retrieve(response_id).id == response_id
    except openai.InternalServerError:  # 503
        return None


def test_while_the_control_plane_is_away_what_is_asked_of_it_is_503_and_never_401(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config) as gateway, gateway.open_openai() as client:
        kept = create(client, "hi")
        kill_worker(gateway)
        os.kill(gateway.pid_of("control"), signal.SIGSTOP)
        try:
            assert create(client, "inference goes on").status == "completed"
            for path in (f"/v1/responses/{kept.id}", f"/v1/conversations/conv_{'0' * 32}"):
                answer = gateway.ask("GET", path)
                assert (answer.status, "retry-after" in answer.headers) == (503, True)
                assert answer.json()["error"]["code"] == "control_unavailable"
        finally:
            os.kill(gateway.pid_of("control"), signal.SIGCONT)
        eventually(lambda: is_found(client, kept.id), "what was kept is not found again")


def test_without_records_there_are_no_conversations(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, f"records = false\n{config}") as gateway, gateway.open_openai() as client:
        response = create(client, "hi")
        assert client.responses.retrieve(response.id).id == response.id
        with pytest.raises(openai.APIStatusError) as caught:
            client.conversations.create()
        assert caught.value.status_code == 501
        with pytest.raises(openai.BadRequestError, match="database"):
            create(client, "x", conversation=f"conv_{'0' * 32}")
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(f"resp_{'0' * 32}")


def test_a_response_expires(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, f"response_keep_seconds = 1.0\n{config}") as gateway, open_patient(gateway) as client:
        response = create(client, "hi")
        eventually(lambda: is_gone(client, response.id), "it does not expire")
        kill_worker(gateway)
        assert is_gone(client, response.id)


def is_gone(client: openai.OpenAI, response_id: str) -> bool | None:
    try:
        client.responses.retrieve(response_id)
    except openai.NotFoundError:
        return True
    return None
