"""Which backends are cloud providers."""

import pytest

from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.llmlb.providers import has_key, provider_of
from mrproxy.link.snapshot import BackendSpec
from tests.control.llmlb.test_endpoint_shapes import ROW


@pytest.mark.parametrize(
    ("kind", "url", "name", "provider"),
    [
        ("openai", "https://api.openai.com", "x", "openai"),
        ("anthropic", "https://api.anthropic.com/v1", "x", "anthropic"),
        ("openai", "https://generativelanguage.googleapis.com/v1beta/openai", "x", "google"),
        ("openai", "http://egress.lan:3128", "google", "google"),
        ("anthropic", "https://proxy.example", "x", "anthropic"),
        ("openai", "https://api.mistral.example", "mistral", "mistral"),
        ("openai", "http://10.0.0.1:8000", "gpu-a", None),
        ("vllm", "https://gpu.example", "gpu-a", None),
    ],
)
def test_by_host_then_by_name_then_by_how_it_is_reached(kind: str, url: str, name: str, provider: str | None) -> None:
    assert provider_of(kind, url, name) == provider


def test_whether_there_is_a_key() -> None:
    spec = BackendSpec("a", "openai", "https://x", 1)
    assert not has_key(Known("a", "a", "https://x", "openai", spec=spec))
    assert has_key(Known("a", "a", "https://x", "openai", row=ROW))
    assert not has_key(Known("a", "a", "https://x", "openai"))
