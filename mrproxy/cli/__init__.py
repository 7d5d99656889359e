"""Shell. The command line: `mrproxy serve`, what administers a gateway, and what looks at a data directory.

Each command is a module; none of them decides anything that another process could not also decide. What administers
goes through the API (`client.py`), here over the gateway's socket or elsewhere by `--url`. Plain text on a pipe, colour
on a terminal, `--json` on every list. Errors of the user are a sentence on stderr and exit code 2 (usage), 3 (no
gateway answers) or 1; a traceback is a bug. docs/cli.md is printed by `reference.py`.
Read next: `serve.py`; `gateway.py`.
"""

from importlib.metadata import version as version_of

import click

from mrproxy.cli.audit import audit as audit_group
from mrproxy.cli.backend import backend as backend_group
from mrproxy.cli.config import config as config_group
from mrproxy.cli.database import db as db_group
from mrproxy.cli.database import migrate
from mrproxy.cli.doctor import doctor as doctor_command
from mrproxy.cli.group import group as group_group
from mrproxy.cli.init import init as init_command
from mrproxy.cli.journal import journal as journal_group
from mrproxy.cli.key import key as key_group
from mrproxy.cli.log import log as log_command
from mrproxy.cli.model import model as model_group
from mrproxy.cli.quota import quota as quota_group
from mrproxy.cli.records import records as records_group
from mrproxy.cli.serve import control, worker
from mrproxy.cli.serve import serve as serve_command
from mrproxy.cli.session import session as session_group
from mrproxy.cli.status import status as status_command
from mrproxy.cli.status import whoami
from mrproxy.cli.top import top as top_command
from mrproxy.cli.usage import usage as usage_command
from mrproxy.cli.user import user as user_group

HELP = """\
One URL in front of many LLM inference servers: fair, accounted, and nearly free per token.

\b
Start with nothing (finds local engines, makes a key and prints it):
  mrproxy serve
\b
Start with two engines:
  mrproxy serve --backend vllm=http://127.0.0.1:9001 --backend ollama=http://127.0.0.1:11434
\b
Then point any OpenAI SDK at http://127.0.0.1:8000/v1, any Ollama client at http://127.0.0.1:8000:
  curl http://127.0.0.1:8000/v1/models -H "Authorization: Bearer $KEY"
"""

EPILOG = """\
Settings come from flags, from MRPROXY_* variables, or from a TOML file (--config); docs/configuration.md lists them.
`mrproxy serve` starts its parts itself; `mrproxy worker --help` and `mrproxy control --help` say what they are.
"""


@click.group(help=HELP, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The text of `mrproxy --help` is HELP."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"mrproxy {version_of('mrproxy')}")


SERVING = (init_command, serve_command, worker, control, migrate, doctor_command)
PEOPLE = (user_group, group_group, key_group, quota_group, session_group)
ENGINES = (backend_group, model_group)
ACCOUNTS = (records_group, usage_command, journal_group, audit_group, db_group)
LOOKING = (status_command, top_command, log_command, whoami, config_group, version)
for command in (*SERVING, *PEOPLE, *ENGINES, *ACCOUNTS, *LOOKING):
    main.add_command(command)
