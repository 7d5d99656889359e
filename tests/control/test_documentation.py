"""Pages that work without the internet."""

import re

import pytest
import trio

from mrproxy.control.documentation import ASSETS, PAGES, WEB
from mrproxy.control.routes import build_app
from tests.control.api.conftest import nothing_to_see
from tests.control.test_assembly import offer_of, tell


@pytest.fixture
def client(tmp_path):
    return build_app(nothing_to_see, trio.Event(), offer_of(tmp_path), tell).test_client()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_needs_nothing_from_elsewhere(client, path):
    response = await client.get(path)
    page = (await response.get_data()).decode()
    assert response.headers["Content-Security-Policy"] == PAGES[path][1]
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 3
    assert "<script>" not in page
    for link in links:
        assert link.startswith("/")
        found = await client.get(link)
        assert found.status_code == 200
        if link.startswith("/assets/"):
            assert found.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert found.headers["Content-Type"].startswith(("text/javascript", "text/css"))


@pytest.mark.parametrize("policy", [policy for _, policy in PAGES.values()])
def test_the_policy_allows_no_inline_script_and_no_other_host(policy):
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == "'self'"
    assert rules["connect-src"] == "'self'"
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/assets/0000000000000000/redoc.js", "/assets/x/../../secret", "/assets/x/none.js"])
async def test_what_is_no_file_of_ours_is_a_404(client, path):
    assert (await client.get(path)).status_code == 404


async def test_the_document_is_not_sent_again_to_who_has_it(client):
    response = await client.get("/openapi.json")
    assert (await response.get_json())["openapi"] == "3.1.0"
    again = await client.get("/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")


def test_every_package_has_its_licence():
    folders = {(WEB / file).parent for file in ASSETS.values() if file.startswith("vendor/")}
    assert len(folders) == 2
    for folder in folders:
        assert (folder / "LICENSE").read_text()
