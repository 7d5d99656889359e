"""Pure. The documentation of the settings is what the settings are."""

import tomllib
from dataclasses import replace
from pathlib import Path

import msgspec

from mrproxy.config import Backend, Key, Settings, load, scalar_fields
from mrproxy.config.describe import INTRODUCTION, MASK, TABLE_DOCS, markdown, rows
from mrproxy.config.load import combine
from mrproxy.config.tables import Group, LimitFields, User

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_committed_page_is_current():
    assert DOCS.read_text() == markdown(), "run: python -m mrproxy.config > docs/configuration.md"


def test_every_setting_and_every_field_of_a_table_is_on_the_page():
    page = markdown()
    for each in scalar_fields():
        assert f"| `{each.name}` |" in page
    limits = set(LimitFields.__struct_fields__)
    for table, kind in (("[[backends]]", Backend), ("[groups.NAME]", Group), ("[[users]]", User), ("[[keys]]", Key)):
        assert set(TABLE_DOCS[table]) - {"LIMITS"} == set(kind.__struct_fields__) - limits


def test_the_example_on_the_page_is_valid():
    example = INTRODUCTION.split("```toml\n")[1].split("```")[0]
    settings, _ = combine(tomllib.loads(example), "example", {"ADA_KEY": "secret"}, {})
    assert [each.name for each in settings.backends] == ["vllm-10.0.0.7-8000", "desk"]


def test_secrets_are_masked_wherever_they_are():
    settings, origins = load(None, {"MRPROXY_BOOTSTRAP_API_KEY": "hush"}, {})
    settings = replace(
        settings,
        keys=(Key(key="hush", name="n"),),
        backends=(Backend(kind="vllm", url="http://a", name="b", api_key="hush"),),
    )
    shown = rows(settings, origins)
    assert b"hush" not in msgspec.json.encode(shown)
    assert ("bootstrap_api_key", MASK, "environment MRPROXY_BOOTSTRAP_API_KEY") in shown
    assert ("bootstrap_api_key", "", "default") in rows(Settings(), dict.fromkeys(origins, "default"))
