"""A worker process: what it must not have. What it does is in all tests that use tests/fakes/gateway.py."""

import subprocess
import sys

import pytest

HEAVY = ("quart", "hypercorn", "sqlalchemy", "alembic", "aiosqlite", "asyncpg", "mrproxy.control", "mrproxy.storage")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mrproxy.app", "mrproxy.worker"])
def test_a_worker_imports_no_web_framework_and_no_database(module):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
