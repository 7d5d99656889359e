"""Pure. One visit to a provider: what is sent along, and whether what comes back belongs to it.

A flow is a random id in a signed cookie of ten minutes. `state`, `nonce` and the PKCE verifier are MACs of it: they
cannot be guessed, need no table, and whoever sees the first (it is in URLs) knows nothing of the third.

What comes back is believed only in the browser that went (cookie and `state`), once (`UsedFlows`), and from the
provider that was asked (`iss`, RFC 9207; each provider has a callback of its own, RFC 9700 §4.4.2.2).
"""

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from mrproxy.config import Oidc
from mrproxy.control.signin.derived import DerivedKeys, is_tag, tag
from mrproxy.control.signin.oidc.metadata import Metadata

FLOW_SECONDS = 600.0
MAX_CODE_CHARACTERS = 4_000
MAX_USED = 10_000

_ERROR = re.compile(r"[a-z_]{1,64}")  # RFC 6749 §4.1.2.1 allows more; providers say these


class FlowRefused(Exception):
    """The reason is for the log; the browser is shown the sign-in page again."""


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """`back` is a path of ours to go to in the end."""

    id: str
    provider: str
    back: str
    issued_utc: float


def flow_text(flow: Flow) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(flow)).decode().rstrip("=")


def read_flow(text: str | None, provider: str, now_utc: float) -> Flow:
    """From a cookie whose signature was right. Raises FlowRefused."""
    if text is None:
        raise FlowRefused("there is no cookie of a flow")
    try:
        flow = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Flow)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as exc:
        raise FlowRefused("the cookie of the flow cannot be read") from exc
    if flow.provider != provider:
        raise FlowRefused("the flow was begun with another provider")
    if not -60 <= now_utc - flow.issued_utc <= FLOW_SECONDS:
        raise FlowRefused("the flow was begun too long ago")
    return flow


def nonce_of(keys: DerivedKeys, flow: Flow) -> str:
    return tag(keys.flow, "nonce", flow.id)


def verifier_of(keys: DerivedKeys, flow: Flow) -> str:
    """64 characters of those that RFC 7636 §4.1 allows."""
    return tag(keys.flow, "verifier", flow.id)


def authorization_url(keys: DerivedKeys, flow: Flow, provider: Oidc, metadata: Metadata, redirect_uri: str) -> str:
    """PKCE is always used, and always with S256: what a provider says of the other method does not matter."""
    url: str = prepare_grant_uri(
        metadata.authorization_endpoint,
        provider.client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=list(provider.scopes),
        state=tag(keys.flow, "state", flow.id),
        nonce=nonce_of(keys, flow),
        code_challenge=create_s256_code_challenge(verifier_of(keys, flow)),
        code_challenge_method="S256",
    )
    return url


def code_of(keys: DerivedKeys, flow: Flow, metadata: Metadata, sent: Mapping[str, str]) -> str:
    """The code, if this is the answer to this flow. Raises FlowRefused."""
    if not is_tag(sent.get("state", ""), keys.flow, "state", flow.id):
        raise FlowRefused("state is missing or is not that of this flow")
    issuer = sent.get("iss")
    if issuer != metadata.issuer and (issuer is not None or metadata.says_iss):
        raise FlowRefused("iss is missing or names another provider")
    if "error" in sent:
        word = sent["error"] if _ERROR.fullmatch(sent["error"]) else "an error"
        raise FlowRefused(f"the provider says {word}")
    code = sent.get("code", "")
    if not code or len(code) > MAX_CODE_CHARACTERS:
        raise FlowRefused("there is no code")
    return code


@dataclass(slots=True)
class UsedFlows:
    """Flows that have come back, as long as their cookie could be good; the oldest are forgotten first.

    Codes are good once at a good provider. This is for the others, and for cookies that somebody kept.
    """

    ids: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def use(self, flow: Flow) -> None:
        """Raises FlowRefused the second time."""
        if flow.id in self.ids:
            raise FlowRefused("the flow has come back before")
        self.ids[flow.id] = None
        if len(self.ids) > MAX_USED:
            self.ids.popitem(last=False)
