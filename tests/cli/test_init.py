"""Shell. `mrproxy init`."""

import re
import stat

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.cli.init import document
from mrproxy.config import Settings, load, scalar_fields


@pytest.fixture
def run(tmp_path):
    words = ["init", str(tmp_path / "m.toml"), "--data-dir", str(tmp_path / "d")]
    return lambda: CliRunner().invoke(main, words)


def test_the_file_says_where_the_data_is_and_nothing_else(run, tmp_path):
    result = run()
    assert (result.exit_code, "What to do next:" in result.stdout) == (0, True)
    settings, _ = load(tmp_path / "m.toml", {}, {})
    assert settings == load(None, {}, {"data_dir": str(tmp_path / "d")})[0]
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("m.toml", "d", "d/secret")]
    assert modes == [0o600, 0o700, 0o600]


def test_every_setting_is_there_with_its_default(tmp_path):
    names = {field.name for field in scalar_fields()}
    uncommented = re.sub(
        r"^# (\w+)( = )",
        lambda found: f"{found[1]}{found[2]}" if found[1] in names else found[0],
        before_tables(),
        flags=re.MULTILINE,
    )
    (tmp_path / "m.toml").write_text(uncommented)
    settings, origins = load(tmp_path / "m.toml", {}, {})
    assert settings == load(None, {}, {"data_dir": "/data/ü"})[0]
    assert {name for name in names if origins[name].startswith("file")} == names


def before_tables() -> str:
    from pathlib import Path

    return document(Path("/data/ü")).partition("# [[backends]]")[0]


def test_the_examples_of_tables_are_good(tmp_path, monkeypatch):
    tables = document(tmp_path).partition("# [[backends]]")[2]
    (tmp_path / "m.toml").write_text(re.sub(r"^# ", "", f"# [[backends]]{tables}", flags=re.MULTILINE))
    settings, _ = load(tmp_path / "m.toml", {"ADA_KEY": "mr_x"}, {})
    assert (settings.backends[0].name, settings.users[0].group, settings.keys[0].key) == ("gpu-1", "lab", "mr_x")


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "m.toml").write_text("port = 1")
    result = run()
    assert (result.exit_code, (tmp_path / "m.toml").read_text()) == (1, "port = 1")
    assert "is left as it is" in result.stderr


def test_the_settings_are_the_defaults():
    assert Settings().port == 8000
