"""The JavaScript SDKs `openai` and `ollama` through the front door: npm/suite.mjs tries them, this file reports.

They are installed beside it, once, at the versions of the lock file. Without node and npm the tests are skipped, but
not where they must run: `.ci/run` sets MRPROXY_NEEDS_NPM.
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

FOLDER = Path(__file__).with_name("npm")
SUITE = FOLDER / "suite.mjs"
LOCK = FOLDER / "package-lock.json"
# npm writes it last, as a copy of the lock file that it has installed.
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
CLAIMS = re.findall(r'^  async "(.+)"\(\) \{$', SUITE.read_text(), re.MULTILINE)
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


def run(*command: str, **environment: str) -> str:
    finished = subprocess.run(
        command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True, timeout=150, check=False
    )
    assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_sdks_claim_holds(outcomes: dict[str, str | None], claim: str):
    assert outcomes[claim] is None, outcomes[claim]


def test_no_claim_is_forgotten(outcomes: dict[str, str | None]):
    assert list(outcomes) == CLAIMS


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in LOCK.read_text()
