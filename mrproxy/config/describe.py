"""Pure. docs/configuration.md and the rows of `mrproxy config show`, from the fields of `Settings`.

The committed file is compared with `markdown()` by tests/config/test_describe.py, so it cannot fall behind.
Write it with `python -m mrproxy.config > docs/configuration.md`.
"""

from itertools import groupby

from mrproxy.config.load import DEFAULT_GROUPS
from mrproxy.config.settings import TABLES, Settings, about, flag_of, scalar_fields, variable_of
from mrproxy.config.tables import KINDS, Backend, Key, Oidc

MASK = "********"

INTRODUCTION = """\
# Configuration

<!-- Generated: python -m mrproxy.config > docs/configuration.md -->

Every setting has one name. It is a key of the TOML file (`mrproxy serve --config mrproxy.toml`, or `MRPROXY_CONFIG`),
an environment variable and a flag of `mrproxy serve`. Flags beat the environment, the environment beats the file, the
file beats the default. `mrproxy config show` prints every value and where it came from. Relative paths start at the
working directory.

SIGHUP (`kill -HUP $(cat mrproxy-data/run/supervisor.pid)`) reads the file again. A broken one is refused with the
reason and nothing changes; a valid one applies without losing a request. Settings marked *restart* are read only once.

Secrets (`key`, `api_key`, `client_secret`, `bootstrap_api_key`, `admin_password`, `database_url`) may be written as
`"$NAME"`: then they are read from the environment variable `NAME`.

```toml
port = 8000
quantum_tokens = 2000

[[backends]]
kind = "vllm"                       # KINDS_HERE
url = "http://10.0.0.7:8000"        # a trailing /v1 is fine
max_concurrent = 128

[[backends]]
name = "desk"
kind = "ollama"
url = "http://127.0.0.1:11434"
aliases = { "small" = "llama3.2:1b" }

[groups.lab]                        # admin 10, faculty 3, staff 2, student 1, other 1 exist already
weight = 4
tokens_per_minute = 200_000         # for each user of the group that sets none of his own

[[users]]
name = "ada"
group = "lab"

[[keys]]
name = "ada's laptop"
key = "$ADA_KEY"
user = "ada"
models = ["small"]
expires = "2027-12-31T00:00:00Z"
```
"""

TABLE_DOCS = {
    "[[backends]]": {
        "name": "Shown in answers (`X-MRProxy-Backend`), metrics and the journal. Default: kind, host and port.",
        "kind": f"{', '.join(f'`{kind}`' for kind in KINDS)}; `auto` asks the server what it is.",
        "url": "Base URL. A trailing `/v1` is dropped.",
        "max_concurrent": "Slots: requests sent to it at a time. Default: `default_max_concurrent`.",
        "api_key": "Sent as a bearer token, to kind `anthropic` as `x-api-key`. The caller's key never is.",
        "models": "Allow list; absent: everything that it has.",
        "aliases": "Public name = the backend's own name.",
        "first_byte_deadline_seconds": "From a request sent to the first byte of its answer; default: the setting.",
        "probe_interval_seconds": "Between two probes while it is healthy; default: the setting.",
        "num_ctx": "Kind `ollama`: context length sent with every request; one for all models, or a table of public "
        "name = length. A model is then never loaded anew because two callers ask for different lengths.",
    },
    "[groups.NAME]": {
        "weight": "Share of a user when all are waiting, relative to others.",
        "LIMITS": "For each user of the group that sets none of his own.",
    },
    "[[users]]": {
        "name": "Whose requests queue together, and who is accounted.",
        "group": "Default `other`.",
        "weight": "Instead of the group's.",
        "LIMITS": "Over all keys of the user.",
    },
    "[[keys]]": {
        "name": "For people; keys need not have one.",
        "key": "The key in clear, or `$NAME`.",
        "digest": "Instead of `key`: what `mrproxy key digest` prints, valid in one data directory.",
        "user": "Absent: the key is a caller of its own.",
        "group": "Of a user that no `[[users]]` table lists.",
        "models": "Allow list; absent: every model.",
        "expires": "RFC 3339 with a zone.",
        "scopes": 'What it may do beside what its user may: `["inference"]` (the default), `read`, `own`, `admin`. '
        "They only take away: administering takes a user of the group `admin`, too.",
        "addresses": "Networks that it may come from (`10.0.0.0/8`, `2001:db8::/32`); absent: any.",
        "LIMITS": "Of this key alone; the user's hold as well.",
    },
    "[[oidc]]": {
        "name": "In the paths `/login/oidc/NAME` and `/login/oidc/NAME/callback`; the latter is the redirect URI that "
        "the provider must know. A change of these tables needs a restart.",
        "issuer": "As the provider writes it: `https://login.microsoftonline.com/TENANT/v2.0`, "
        "`https://accounts.google.com`, `https://HOST/realms/REALM`. Everything else is found there.",
        "client_id": "What the provider calls this gateway.",
        "client_secret": "Or `$NAME`; absent for a public client.",
        "label": "On the button of the sign-in page. Default: the name.",
        "scopes": 'Default `["openid", "profile", "email"]`.',
        "name_claim": "The claim that new users are named by. Default `preferred_username`, then the address.",
        "group_claim": "The claim with the user's groups or roles; dots lead into objects (`realm_access.roles`).",
        "group_map": "Value of that claim = group here. The first in the table that fits, and anew at each sign-in.",
        "default_group": "Group of a new user that no row of `group_map` fits. Empty: such users are refused.",
        "allowed_domains": "Only users with a verified address in one of these domains. Absent: all.",
        "links_by_email": "A verified address makes somebody the user here who has that address and neither a password "
        "nor an identity yet. Default off: only for a provider that speaks for those addresses.",
    },
}

LIMITS = """\
Limits are `requests_per_minute`, `tokens_per_minute` (both refill continuously), `concurrent_requests` and
`token_budget` (tokens in all). Absent means unlimited. Beyond one of them: 429 with `Retry-After`.

On the command line and in `MRPROXY_BACKENDS` (separated by spaces) a backend is
`KIND=URL[,max_concurrent=N][,name=X]`, for example `--backend vllm=http://127.0.0.1:9001,max_concurrent=8`. These are
added to the file's; one of the same name replaces the file's.
"""


def markdown() -> str:
    """The whole of docs/configuration.md."""
    parts = [INTRODUCTION.replace("KINDS_HERE", ", ".join(KINDS)), "## Settings\n"]
    for section, members in groupby(scalar_fields(), key=lambda each: about(each).section):
        rows = [setting_row(each.name) for each in members]
        parts.append(
            f"### {section}\n\n| setting | default | what it does | others do |\n|---|---|---|---|\n" + "\n".join(rows)
        )
        parts[-1] += "\n"
    parts.append("Flag and variable follow from the name: " + examples() + "\n")
    parts.append("## Tables\n")
    for table, rows_of_table in TABLE_DOCS.items():
        rows = [f"| {limits_or(name)} | {text} |" for name, text in rows_of_table.items()]
        parts.append(f"### `{table}`\n\n| field | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    parts.append(LIMITS)
    return "\n".join(parts)


def examples() -> str:
    return f"`queue_max_jobs` is `{flag_of('queue_max_jobs')}` and `{variable_of('queue_max_jobs')}`."


def limits_or(name: str) -> str:
    return "the four limits" if name == "LIMITS" else f"`{name}`"


def setting_row(name: str) -> str:
    each = next(each for each in scalar_fields() if each.name == name)
    described = about(each)
    text = described.doc
    if described.choices:
        text += " " + ", ".join(f"`{choice}`" for choice in described.choices) + "."
    if described.restart:
        text += " *restart*"
    return f"| `{name}` | {shown_default(name, described.unit)} | {text} | {described.precedent} |"


def shown_default(name: str, unit: str) -> str:
    value = getattr(Settings(), name)
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float | int) and name != "port":
        return f"{value:,.12g}" + (f" {unit}" if unit else "")
    return f"`{value}`"


def rows(settings: Settings, origins: dict[str, str]) -> list[tuple[str, object, str]]:
    """(name, value, origin) for `mrproxy config show`: secrets masked, tables as plain data."""
    shown: list[tuple[str, object, str]] = []
    for each in scalar_fields():
        value = getattr(settings, each.name)
        shown.append((each.name, MASK if about(each).secret and value else value, origins[each.name]))
    tables = {
        "backends": [shown_backend(each) for each in settings.backends],
        "groups": {name: DEFAULT_GROUPS[name] for name in DEFAULT_GROUPS}
        | {name: group.weight for name, group in settings.groups.items()},
        "users": [each.name for each in settings.users],
        "keys": [shown_key(each) for each in settings.keys],
        "oidc": [shown_oidc(each) for each in settings.oidc],
    }
    return shown + [(name, tables[name], origins[name]) for name in TABLES]


def shown_backend(backend: Backend) -> str:
    slots = f",max_concurrent={backend.max_concurrent}" if backend.max_concurrent is not None else ""
    return f"{backend.kind}={backend.url}{slots},name={backend.name}" + (" (api_key set)" if backend.api_key else "")


def shown_key(key: Key) -> str:
    return f"{key.name or '(unnamed)'} of {key.user or 'nobody'}"


def shown_oidc(provider: Oidc) -> str:
    return f"{provider.name}={provider.issuer}" + (" (client_secret set)" if provider.client_secret else "")
