"""Pure. Which endpoints are cloud providers, and what llmlb calls them: openai, google, anthropic.

There a provider is a prefix of model names and a key in the environment; here it is a backend. Its host says which one
it is, or its name where it is reached through another. Any other server that is reached by `https` and speaks as a
provider does has its own name for a label.
"""

from urllib.parse import urlsplit

from mrproxy.control.llmlb.endpoint_shapes import Known

HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
}
NAMES = frozenset(HOSTS.values())
KINDS = ("openai", "anthropic")


def provider_of(kind: str, url: str, name: str) -> str | None:
    """None for what runs in the house."""
    parts = urlsplit(url)
    known = HOSTS.get(parts.hostname or "")
    if known is not None:
        return known
    if name in NAMES:
        return name
    if parts.scheme != "https" or kind not in KINDS:
        return None
    return "anthropic" if kind == "anthropic" else name


def has_key(known: Known) -> bool:
    if known.spec is not None:
        return known.spec.api_key is not None
    return known.row is not None and known.row.has_api_key
