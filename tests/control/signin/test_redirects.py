"""A browser is sent to paths of ours only."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin.redirects import own_path


@pytest.mark.parametrize("path", ["/", "/dashboard", "/admin/users?after=3#top", "/a/b.c", "/search?q=http://x//y"])
def test_paths_of_ours_are_taken(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        "",
        "dashboard",
        "http://evil.example/",
        "https:evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=y",
        "/é",
        "/x" * 2000,
        "/login",
        "/login/oidc/x/callback?code=1",
        "/logout",
        "/a/../login",
        "/.//evil.example",
        "/..//evil.example",
    ],
)
def test_everything_else_leads_home(wanted: str | None) -> None:
    assert own_path(wanted) == "/"


@given(st.text(st.sampled_from("/\\\t\r\n .:@?#%ax-é\x00"), max_size=12))
def test_whatever_is_wanted_stays_on_our_host(wanted: str) -> None:
    path = own_path(wanted)
    as_browsers_do = path.replace("\\", "/").replace("\t", "").replace("\n", "").replace("\r", "")
    assert urlsplit(urljoin("https://gateway.example/login", as_browsers_do)).netloc == "gateway.example"
    assert path.startswith("/")
    assert not path.startswith("//")
