"""What llmlb would call an endpoint's state and type."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.llmlb.endpoint_shapes import (
    OVERRIDDEN,
    Known,
    capability_of,
    details,
    served_names,
    shown,
    status_of,
    type_of,
)
from mrproxy.control.status import BackendStatus, summarize
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage.backends import ManagedBackend
from tests.control.api.conftest import NOW
from tests.control.llmlb.conftest import observe

ROW = ManagedBackend(
    id=1,
    uuid="u-1",
    name="gpu-a",
    kind="auto",
    url="http://10.0.0.1:11434",
    has_api_key=True,
    created_utc=NOW,
    updated_utc=NOW,
    version=1,
)
SPEC = BackendSpec("gpu-a", "vllm", "https://someone:secret@gpu.example/v1", 4)


async def live_one(**changes: object) -> BackendStatus:
    found = summarize(await observe())["backends"][0]
    return {**found, **changes}  # type: ignore[typeddict-item]


def known(live: BackendStatus | None = None, row: ManagedBackend | None = ROW) -> Known:
    return Known("u-1", "gpu-a", ROW.url, "auto", row=row, live=live)


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [
        ("routable", None, "online"),
        ("half_open", None, "online"),
        ("open", None, "error"),
        ("down", "connection refused", "offline"),
        ("down", None, "pending"),
        ("draining", None, "offline"),
    ],
)
async def test_a_state_is_one_of_their_four(state: str, error: str | None, status: str) -> None:
    live = await live_one(state=state, last_probe_error=error, workers={"0": state, "1": "routable"})
    assert status_of(known(live)) == status
    seen = shown(known(live), NOW)
    assert (seen.status, seen.last_error) == (status, error)
    assert (seen.last_seen is not None) == (status == "online")
    assert seen.error_count == (0 if status == "online" else 1)


async def test_what_nobody_has_yet_is_pending_and_what_is_switched_off_is_offline() -> None:
    assert status_of(known()) == "pending"
    assert status_of(known(await live_one(), msgspec.structs.replace(ROW, is_enabled=False))) == "offline"
    overridden = replace(known(), is_overridden=True)
    assert (status_of(overridden), shown(overridden, NOW).last_error) == ("offline", OVERRIDDEN)


async def test_a_type_is_what_was_configured_or_else_found() -> None:
    assert type_of(known()) == "unknown"
    assert type_of(known(await live_one(kind="ollama"))) == "ollama"
    assert type_of(replace(known(await live_one(kind="openai")), kind="openai")) == "openai_compatible"


async def test_all_fields_of_theirs_are_there_and_no_secret() -> None:
    one = msgspec.to_builtins(details(known(await live_one()), NOW))
    assert (one["base_url"], one["latency_ms"], one["model_count"]) == (ROW.url, 250.0, 2)
    assert (one["health_check_interval_secs"], one["inference_timeout_secs"]) == (30, 120)
    assert [each["model_id"] for each in one["models"]] == ["m1", "m2"]
    assert (one["notes"], one["source"], one["registered_at"]) == (None, "managed", "2025-10-09T08:53:20Z")
    configured = Known("u", "gpu-a", SPEC.url, "vllm", spec=SPEC)
    assert shown(configured, NOW).base_url == "https://gpu.example/v1"
    assert (configured.host, configured.port, known().port) == ("gpu.example", 443, 11434)
    assert shown(configured, NOW).source == "configuration"


@pytest.mark.parametrize("name", ["embeddinggemma", "nomic-embed-text", "org/e5_embed", "Embed-4"])
def test_what_embeds_is_told_by_its_name(name: str) -> None:
    assert capability_of(name) == "embeddings"


@pytest.mark.parametrize("name", ["llama3.2", "embed/llama", "remembered"])
def test_everything_else_chats(name: str) -> None:
    assert capability_of(name) == "chat"


@given(st.lists(st.sampled_from("abcd")), st.none() | st.lists(st.sampled_from("abcd")))
def test_no_model_is_offered_that_is_not_there_or_not_allowed(found: list[str], allowed: list[str] | None) -> None:
    names = served_names(found, allowed, {"alias": "a", "none": "z"})
    assert set(names.values()) <= set(found) & (set(found) if allowed is None else set(allowed))
    assert ("alias" in names) == ("a" in names)
    assert "none" not in names
