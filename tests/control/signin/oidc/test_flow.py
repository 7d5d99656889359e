"""What goes out and what may come back."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from authlib.oauth2.rfc7636.challenge import CODE_VERIFIER_PATTERN
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config import Oidc
from mrproxy.control.signin.derived import derive_keys
from mrproxy.control.signin.oidc import flow as module
from mrproxy.control.signin.oidc.flow import (
    FLOW_SECONDS,
    Flow,
    FlowRefused,
    UsedFlows,
    authorization_url,
    code_of,
    flow_text,
    nonce_of,
    read_flow,
    verifier_of,
)
from mrproxy.control.signin.oidc.metadata import Metadata

KEYS = derive_keys(b"s" * 32)
NOW = 1_800_000_000.0
FLOW = Flow("id", "uni", "/back?x=1", NOW)
ISSUER = "https://id.example"
METADATA = Metadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize?tenant=1",
    token_endpoint=f"{ISSUER}/token",
    jwks_uri=f"{ISSUER}/jwks",
)
CONFIG = Oidc(name="uni", issuer=ISSUER, client_id="gateway & more")


def sent() -> dict[str, str]:
    url = authorization_url(KEYS, FLOW, CONFIG, METADATA, "https://llm.example/login/oidc/uni/callback")
    assert url.startswith(f"{ISSUER}/authorize?tenant=1&")
    return dict(parse_qsl(urlsplit(url).query))


def answer(**changes: str) -> dict[str, str]:
    return {"code": "c", "state": sent()["state"], **changes}


def test_all_that_is_sent_belongs_to_the_flow_and_is_encoded() -> None:
    assert sent()["client_id"] == "gateway & more"
    assert sent()["nonce"] == nonce_of(KEYS, FLOW)
    assert CODE_VERIFIER_PATTERN.match(verifier_of(KEYS, FLOW))
    assert verifier_of(KEYS, FLOW) not in str(sent())


def test_the_answer_to_a_flow_is_taken() -> None:
    assert code_of(KEYS, FLOW, METADATA, answer()) == "c"
    assert code_of(KEYS, FLOW, METADATA, answer(iss=ISSUER)) == "c"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ""},
        {"state": "x"},
        {"iss": f"{ISSUER}/"},
        {"iss": ""},
        {"code": ""},
        {"code": "c" * 4001},
        {"error": "x"},
    ],
)
def test_another_answer_is_not(changes: dict[str, str]) -> None:
    with pytest.raises(FlowRefused):
        code_of(KEYS, FLOW, METADATA, answer(**changes))


def test_a_state_of_another_flow_is_not() -> None:
    with pytest.raises(FlowRefused, match="state"):
        code_of(KEYS, Flow("other", "uni", "/", NOW), METADATA, answer())


def test_a_flow_survives_its_cookie_and_not_its_time() -> None:
    text = flow_text(FLOW)
    assert read_flow(text, "uni", NOW + FLOW_SECONDS) == FLOW
    for wrong in (
        (None, "uni", NOW),
        (text, "other", NOW),
        (text, "uni", NOW + FLOW_SECONDS + 1),
        (text, "uni", NOW - 61),
    ):
        with pytest.raises(FlowRefused):
            read_flow(*wrong)


@given(st.text())
def test_no_text_is_a_flow_by_accident(text: str) -> None:
    with pytest.raises(FlowRefused):
        read_flow(text, "uni", NOW)


def test_a_flow_comes_back_once_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_USED", 3)
    used = UsedFlows()
    for number in range(5):
        used.use(Flow(str(number), "uni", "/", NOW))
    with pytest.raises(FlowRefused):
        used.use(Flow("4", "uni", "/", NOW))
    assert len(used.ids) == 3
