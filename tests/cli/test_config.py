"""Shell. `mrproxy config`."""

import json

from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.config.describe import markdown


def test_show_says_where_each_value_comes_from(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text("max_attempts = 2\n[[keys]]\nname='n'\nkey='hush'\n")
    result = CliRunner().invoke(
        main,
        ["config", "show", "--json", "--config", str(file), "--port", "9", "--backend", "vllm=http://a"],
        env={"MRPROXY_QUEUE_MAX_JOBS": "5"},
    )
    rows = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(result.output)}
    assert rows["port"] == (9, "flag --port")
    assert rows["queue_max_jobs"] == (5, "environment MRPROXY_QUEUE_MAX_JOBS")
    assert rows["max_attempts"] == (2, f"file {file}")
    assert rows["backends"] == (["vllm=http://a,name=vllm-a-80"], "flag --backend")
    assert rows["max_headers"][1] == "default"
    assert "hush" not in result.output


def test_show_on_a_pipe_is_tab_separated():
    result = CliRunner().invoke(main, ["config", "show", "--no-access-log"])
    assert "access_log\tno\tflag --access-log\n" in result.output


def test_docs_are_the_committed_page():
    assert CliRunner().invoke(main, ["config", "docs"]).output == markdown()


def test_elsewhere_the_settings_in_force_are_asked_for(there, run):
    item = {"name": "port", "value": 8000, "source": "default", "unit": "", "description": "TCP port"}
    there.answers["GET /settings"] = {"items": [item]}
    assert run("config", "show", url=there.url).stdout == "setting\tvalue\torigin\nport\t8000\tdefault\n"
