"""Pure. Configuration: sources in order of strength, bounds, and errors that name their culprit."""

import contextlib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config import Backend, ConfigError, Settings, about, flag_of, load, scalar_fields, variable_of
from mrproxy.config.tables import name_for, normal_url, parse_backend_option


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mrproxy.toml"
    file.write_text(text)
    return file


def test_without_any_source_everything_is_default():
    settings, origins = load(None, {}, {})
    assert settings == Settings()
    assert set(origins.values()) == {"default"}
    assert set(origins) == {each.name for each in fields(Settings)}


def test_flags_beat_environment_beats_file(tmp_path):
    file = write(tmp_path, "port = 1\nquantum_tokens = 11\nmax_attempts = 5\n")
    env = {"MRPROXY_PORT": "2", "MRPROXY_QUANTUM_TOKENS": "22"}
    settings, origins = load(file, env, {"port": 3, "host": None})
    assert (settings.port, settings.quantum_tokens, settings.max_attempts) == (3, 22, 5)
    assert origins["port"] == "flag --port"
    assert origins["quantum_tokens"] == "environment MRPROXY_QUANTUM_TOKENS"
    assert origins["max_attempts"] == f"file {file}"
    assert origins["host"] == "default"


def test_every_scalar_setting_can_be_set_from_the_environment():
    for each in scalar_fields():
        value = getattr(Settings(), each.name)
        settings, origins = load(
            None, {variable_of(each.name): str(value), "MRPROXY_TLS_CERT": "a", "MRPROXY_TLS_KEY": "b"}, {}
        )
        assert origins[each.name].startswith("environment"), each.name
        if not each.name.startswith("tls"):
            assert getattr(settings, each.name) == value


def test_every_setting_is_described():
    for each in scalar_fields():
        described = about(each)
        assert described.doc.endswith("."), each.name
        assert flag_of(each.name) == "--" + each.name.replace("_", "-")
        if each.name.endswith("_seconds"):
            assert described.unit == "seconds"
        if each.name.endswith(("_bytes", "_tokens")):
            assert described.unit in each.name


def test_kubernetes_service_variables_are_not_ours():
    settings, _ = load(None, {"MRPROXY_PORT": "tcp://10.0.0.1:80"}, {})
    assert settings.port == 8000


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("prot = 1", "unknown setting 'prot'; did you mean 'port'?"),
        ("port = ", "mrproxy.toml: Invalid value"),
        ("port = 'http'", "port is 'http', not a whole number"),
        ("port = true", "port is True, not a whole number"),
        ("port = 70000", "port is 70000, more than 65535"),
        ("max_attempts = 0", "max_attempts is 0, less than 1"),
        ("drain_seconds = nan", "drain_seconds is nan, less than 0"),
        ("drain_seconds = true", "drain_seconds is True, not a number"),
        ("drain_seconds = 'soon'", "drain_seconds is 'soon', not a number"),
        ("host = 7", "host is 7, not a string"),
        ("access_log = 'maybe'", "access_log is 'maybe', neither true nor false"),
        ("scheduler = 'lifo'", "scheduler is 'lifo', not one of wdrr, fifo"),
        ("tls_cert = 'a.pem'", "tls_cert and tls_key belong together"),
        ("bootstrap_api_key = '$NOT_SET'", "environment variable NOT_SET, which is not set"),
        ("[[backends]]\nkind='vllm'", "missing required field `url` - at `$.backends[0]`"),
        ("[[backends]]\nkind='nim'\nurl='http://a'", "unknown kind 'nim'"),
        ("[[backends]]\nkind='vllm'\nurl='a:1'", "not an http:// or https:// URL"),
        ("[[backends]]\nkind='vllm'\nurl='http://u:p@a'", "must have no credentials"),
        ("[[backends]]\nkind='vllm'\nurl='http://a'\nslots=3", "unknown field `slots`"),
        ("[[backends]]\nkind='vllm'\nurl='http://a'\nmax_concurrent=0", "max_concurrent must be at least 1"),
        ("[[backends]]\nkind='vllm'\nurl='http://a'\napi_key='$NOT_SET'", "NOT_SET"),
        ("[[backends]]\nkind='vllm'\nurl='http://a'\n" * 2, "two backends are named 'vllm-a-80'"),
        ("[[users]]\nname='ada'\ngroup='staf'", "user 'ada' is in group 'staf', which is not configured"),
        ("[[users]]\nname='ada'\n" * 2, "two users are named 'ada'"),
        ("[[users]]\nname='ada'\nweight=0", "user 'ada': weight is 0, less than 1"),
        ("[groups.staff]\ntoken_budget=-1", "group 'staff': token_budget is -1, less than 1"),
        ("[[keys]]\nname='x'", "keys x: give either key or digest"),
        ("[[keys]]\nkey=' '", "keys (unnamed): the key is empty"),
        ("[[keys]]\nkey='a'\ndigest='b'", "give either key or digest"),
        ("[[keys]]\ndigest='b'", "digest must be 32 lower-case hex digits"),
        ("[[keys]]\nkey='a'\nexpires='soon'", "expires is 'soon', not RFC 3339"),
        ("[[keys]]\nkey='a'\nexpires='2027-01-01T00:00:00'", "without a zone"),
        ("[[keys]]\nkey='a'\nscopes=[]", "keys (unnamed): scopes must be at least one"),
        ("[[keys]]\nkey='a'\nscopes=['admin read']", "scopes must be at least one, of letters"),
        ("[[keys]]\nkey='a'\naddresses=['home']", "'home' does not appear to be an IPv4 or IPv6 network"),
        ("[[keys]]\nkey='a'\naddresses=['10.0.0.7/8']", "10.0.0.7/8 has host bits set"),
        ("[[keys]]\nkey='a'\ngroup='staff'", "a group belongs to the user"),
        ("[[keys]]\nkey='a'\nuser='x'\ngroup='staf'", "'staf', which is not configured"),
        ("keys = 3", "Expected `array`, got `int` - at `$.keys`"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path, text, culprit):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {}, {})
    assert culprit in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {}, {})


def test_a_wrong_flag_or_variable_is_named():
    with pytest.raises(ConfigError, match="environment MRPROXY_PORT: port is 'x'"):
        load(None, {"MRPROXY_PORT": "x"}, {})
    with pytest.raises(ConfigError, match="flag --port: port is -1"):
        load(None, {}, {"port": -1})
    with pytest.raises(ConfigError, match="flag --backend: 'nonsense' is not KIND=URL"):
        load(None, {}, {"backends": ("nonsense",)})


def test_secrets_are_read_from_the_environment_where_the_file_says_so(tmp_path):
    file = write(
        tmp_path,
        "bootstrap_api_key='$BOOT'\n[[keys]]\nkey='$KEY'\n[[backends]]\nkind='openai'\nurl='https://a'\napi_key='$CLOUD'\n",
    )
    settings, _ = load(file, {"BOOT": "b\n", "KEY": "k", "CLOUD": "c"}, {})
    assert settings.bootstrap_api_key == "b"
    assert settings.keys[0].key == "k"
    assert settings.backends[0].api_key == "c"


def test_a_key_may_have_scopes_and_networks(tmp_path):
    file = write(
        tmp_path,
        "[[keys]]\nkey='a'\n[[keys]]\nkey='b'\nscopes=['read','admin:*']\naddresses=['10.0.0.7','2001:DB8::/32']\n",
    )
    plain, bound = load(file, {}, {})[0].keys
    assert (plain.scopes, plain.addresses) == (("inference",), None)
    assert (bound.scopes, bound.addresses) == (("read", "admin:*"), ("10.0.0.7/32", "2001:db8::/32"))


def test_backends_add_up_over_sources_and_the_stronger_source_replaces_by_name(tmp_path):
    file = write(tmp_path, "[[backends]]\nname='a'\nkind='vllm'\nurl='http://one'\n")
    env = {"MRPROXY_BACKENDS": "vllm=http://two,name=b ollama=http://localhost:11434"}
    settings, origins = load(file, env, {"backends": ("openai=http://three,name=a",)})
    assert {each.name: each.kind for each in settings.backends} == {
        "a": "openai",
        "b": "vllm",
        "ollama-11434": "ollama",
    }
    assert origins["backends"] == f"file {file}, environment MRPROXY_BACKENDS, flag --backend"


def test_a_backend_option_carries_slots_and_a_name():
    assert parse_backend_option("vllm=http://127.0.0.1:9001,max_concurrent=8,name=big") == Backend(
        kind="vllm", url="http://127.0.0.1:9001", max_concurrent=8, name="big"
    )
    for wrong in (
        "vllm",
        "vllm=http://a,max_concurrent=x",
        "vllm=http://a,name=",
        "vllm=http://a,b=c",
        "vllm=http://a:x",
    ):
        with pytest.raises(ValueError):
            parse_backend_option(wrong)


def test_base_urls_as_sdks_take_them_are_normalised():
    assert normal_url("http://Host:8000/v1/") == "http://host:8000"
    assert normal_url("https://api.example.com/openai/v1") == "https://api.example.com/openai"


def test_default_names_say_where():
    assert name_for("vllm", "http://127.0.0.1:9001") == "vllm-9001"
    assert name_for("vllm", "http://[::1]:9001") == "vllm-9001"
    assert name_for("openai", "https://api.example.com") == "openai-api.example.com-443"


@given(st.dictionaries(st.sampled_from([each.name for each in scalar_fields()]), st.text()))
def test_no_environment_breaks_loading_otherwise_than_by_config_error(values):
    with contextlib.suppress(ConfigError):
        load(None, {variable_of(name): text for name, text in values.items()}, {})


OIDC = '[[oidc]]\nname = "uni"\nissuer = "https://id.example.edu/realms/uni"\nclient_id = "gateway"\n'


def test_a_provider_is_read_with_its_secret_from_the_environment(tmp_path):
    text = OIDC + 'client_secret = "$UNI_SECRET"\nallowed_domains = ["@Example.edu"]\n'
    settings, origins = load(write(tmp_path, text), {"UNI_SECRET": "hush\n"}, {})
    provider = settings.oidc[0]
    assert (provider.client_secret, provider.label, provider.allowed_domains) == ("hush", "uni", ("example.edu",))
    assert origins["oidc"].startswith("file")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"uni"', '"Uni/x"', "small letters"),
        ("https://id", "http://id", "not an https:// URL"),
        ("realms/uni", "realms/uni?x=1", "host and a path alone"),
        ('"gateway"', '""', "client_id is empty"),
        ('"gateway"', '"gateway"\nscopes = ["profile"]', "openid"),
        ('"gateway"', '"gateway"\nscopes = ["openid", "a b"]', "words only"),
        ('"gateway"', '"gateway"\nclient_secret = "$NOWHERE"', "NOWHERE"),
        ('"gateway"\n', f'"gateway"\n{OIDC}', "same name"),
    ],
)
def test_a_wrong_provider_is_refused_with_the_reason(tmp_path, old, new, reason):
    with pytest.raises(ConfigError, match=reason):
        load(write(tmp_path, OIDC.replace(old, new)), {}, {})


def test_a_provider_on_this_machine_may_be_without_tls(tmp_path):
    settings, _ = load(write(tmp_path, OIDC.replace("https://id.example.edu", "http://127.0.0.1:9")), {}, {})
    assert settings.oidc[0].issuer == "http://127.0.0.1:9/realms/uni"


@pytest.mark.parametrize(
    "text",
    [
        'trusted_proxies = "10.0.0.0/8, proxy"',
        'public_url = "llm.example.edu"',
        'public_url = "https://x.example/path"',
    ],
)
def test_proxies_are_networks_and_the_public_url_is_a_url(tmp_path, text):
    with pytest.raises(ConfigError, match=text.split(" ")[0]):
        load(write(tmp_path, text), {}, {})
