"""Shell. Which gateway a command means, and where its key comes from."""

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from tests.fakes.api_server import page

KEY = "mr_very-secret"


def test_without_a_url_it_is_the_one_of_the_data_directory_and_no_key_is_sent(api, run, monkeypatch):
    monkeypatch.setenv("MRPROXY_KEY", KEY)
    api.answers["GET /users"] = page()
    assert run("user", "list").exit_code == 0
    assert "authorization" not in api.asked[0].headers


def test_a_key_comes_from_a_file_a_variable_or_standard_input(there, run, monkeypatch, tmp_path):
    there.answers["GET /users"] = page()
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert run("user", "list", f"--key-file={tmp_path / 'key'}", url=there.url).exit_code == 0
    assert run("user", "list", "--key-file=-", url=there.url, text=f"{KEY}\n").exit_code == 0
    monkeypatch.setenv("MRPROXY_KEY", KEY)
    assert run("user", "list", url=there.url).exit_code == 0
    assert {asked.headers["authorization"] for asked in there.asked} == {f"Bearer {KEY}"}
    assert run("user", "list", "--key=mr_other", url=there.url).exit_code == 0
    assert there.asked[-1].headers["authorization"] == "Bearer mr_other"


def test_a_url_may_stand_in_a_variable_and_a_directory_in_a_flag_counts_more(api, there, run, monkeypatch, tmp_path):
    api.answers["GET /users"] = there.answers["GET /users"] = page()
    monkeypatch.setenv("MRPROXY_URL", there.url)
    assert run("user", "list").exit_code == 0
    assert (len(api.asked), len(there.asked)) == (1, 0)
    monkeypatch.setenv("MRPROXY_DATA_DIR", str(tmp_path / "d"))
    result = run("user", "list", url=there.url)
    assert (result.exit_code, len(there.asked)) == (0, 1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--url=ftp://h"], "not http:// or https://"),
        (["--url=https://"], "not http:// or https://"),
        (["--url=https://h:x"], "not http:// or https://"),
        (["--url=https://a..b"], "not http:// or https://"),
        (["--url=https://ada:pw@h"], "a key goes into --key-file"),
        (["--url=https://h", "--data-dir=d"], "are for a gateway here"),
        (["--key=mr_x"], "a key is for --url"),
        (["--url=https://h", f"--key={KEY}\tx"], "characters that no key has"),
        (["--url=https://h", "--key-file=/nonexistent"], "No such file"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_showing_the_key(words, reason, tmp_path):
    result = CliRunner().invoke(main, ["user", "list", *words])
    assert result.exit_code in (1, 2)
    assert reason in result.output
    assert KEY not in result.output


def test_an_sdks_base_url_will_do(there, run):
    there.answers["GET /users"] = page()
    for ending in ("/v1", "/v1/", "/admin/api/v1", "/"):
        assert run("user", "list", url=there.url + ending).exit_code == 0
    assert {asked.path for asked in there.asked} == {"/admin/api/v1/users"}


def test_a_key_that_goes_unencrypted_is_said(run, monkeypatch):
    monkeypatch.setenv("MRPROXY_KEY", KEY)
    result = run("user", "list", "--timeout=0.01", url="http://gateway.invalid")
    assert result.exit_code == 3
    assert "not https: the key can be read" in result.stderr
    assert KEY not in result.output


def test_a_missing_data_directory_is_not_made(run, tmp_path):
    result = run("user", "list")
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "there is no data directory" in result.stderr
