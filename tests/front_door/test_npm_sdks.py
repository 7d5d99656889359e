"""The JavaScript SDKs `openai`, `@anthropic-ai/sdk` and `ollama` through the front door.

`npm/suite.mjs` tries what they ask of the engines that speak their dialect, `npm/translated.mjs` what they ask of
engines of every kind; this file reports. They are installed beside it, once, at the versions of the lock file. Without
node and npm the tests are skipped, but not where they must run: `.ci/run` sets MRPROXY_NEEDS_NPM.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.front_door.conftest import ONCE, House
from tests.front_door.gateway import KEY
from tests.front_door.translated import MODELS, run_engines

FOLDER = Path(__file__).with_name("npm")
SUITE, TRANSLATED = FOLDER / "suite.mjs", FOLDER / "translated.mjs"
LOCK = FOLDER / "package-lock.json"
# npm writes it last, as a copy of the lock file that it has installed.
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
CLAIM = re.compile(r'^  async "(.+)"\((?:model)?\) \{$', re.MULTILINE)
CLAIMS, TRANSLATED_CLAIMS = CLAIM.findall(SUITE.read_text()), CLAIM.findall(TRANSLATED.read_text())
MISSING = [name for name in ("node", "npm") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        bool(MISSING) and not os.environ.get("MRPROXY_NEEDS_NPM"), reason=f"not installed: {', '.join(MISSING)}"
    ),
]


@pytest.fixture(scope="module")
def packages() -> None:
    """`npm ci`, if the lock file is newer than what is installed."""
    assert not MISSING, f"not installed: {', '.join(MISSING)}"
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        run("npm", "ci")


@pytest.fixture(scope="module")
def outcomes(packages: None, house: House) -> dict[str, str | None]:
    keys = {"OPEN_KEY": KEY, "ONCE_OPENAI_KEY": ONCE[3], "ONCE_OLLAMA_KEY": ONCE[4]}
    found: dict[str, str | None] = json.loads(run("node", SUITE.name, GATEWAY_URL=house.gateway.url, **keys))
    return found


@pytest.fixture(scope="module")
def translated(packages: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str | None]]:
    with run_engines(tmp_path_factory.mktemp("npm")) as engines:
        urls = json.dumps({model: engines.url_of(model) for model in MODELS})
        said = run("node", TRANSLATED.name, GATEWAY_URL=engines.gateway.url, OPEN_KEY=KEY, ENGINE_URLS=urls)
    found: dict[str, dict[str, str | None]] = json.loads(said)
    return found


def run(*command: str, **environment: str) -> str:
    finished = subprocess.run(
        command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True, timeout=150, check=False
    )
    assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_sdks_claim_holds(outcomes: dict[str, str | None], claim: str):
    assert outcomes[claim] is None, outcomes[claim]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("claim", TRANSLATED_CLAIMS)
def test_the_sdks_claim_holds_for_engines_of_every_kind(
    translated: dict[str, dict[str, str | None]], model: str, claim: str
):
    assert translated[model][claim] is None, translated[model][claim]


def test_no_claim_is_forgotten(outcomes: dict[str, str | None], translated: dict[str, dict[str, str | None]]):
    assert list(outcomes) == CLAIMS
    assert {model: list(found) for model, found in translated.items()} == dict.fromkeys(MODELS, TRANSLATED_CLAIMS)


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in LOCK.read_text()
