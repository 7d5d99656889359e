"""Shell. The command line: `mrproxy serve`, what administers a gateway, and what looks at a data directory.

Each command is a module; none of them decides anything that another process could not also decide. What administers
goes through the API (`client.py`), here over the gateway's socket or elsewhere by `--url`. Plain text on a pipe, colour
on a terminal, `--json` on every list. Errors of the user are a sentence on stderr and exit code 2 (usage), 3 (no
gateway answers) or 1; a traceback is a bug. docs/cli.md is printed by `reference.py`.
Read next: `serve.py`; `gateway.py`.
"""

import click

from mrproxy.cli.lazy import LazyCommands

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


# Command -> module, in which it has the same name.
main.commands = LazyCommands({
    "db": "database",
    "migrate": "database",
    "control": "children",
    "worker": "children",
    "whoami": "status",
    **{name: name for name in (
        "audit", "backend", "config", "doctor", "group", "init", "journal", "key", "log", "model", "quota", "records",
        "serve", "session", "status", "top", "usage", "user", "version",
    )},
})  # fmt: skip
