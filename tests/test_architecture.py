"""The rules that a program can check: who imports whom, what `Pure.` promises, sizes, and a test file for each source.

A rule that has to bend gets an entry with its reason here, in the commit that bends it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for path in chain(ROOT.glob("mrproxy/**/*.py"), ROOT.glob("bench/**/*.py")))
OURS = [path for path in SOURCES if path.is_relative_to(ROOT / "mrproxy")]
WITHOUT_ROOT = [path for path in OURS if path != ROOT / "mrproxy" / "__init__.py"]

# Lower may not import higher; names on one line that are not siblings (below) may import each other.
LAYERS = (
    {"errors", "config", "counters", "clock"},
    {"canonical", "wire", "link", "sockets", "fibers"},
    {"dialects"},
    {"accept", "identity", "ledger", "scheduler", "upstream"},
    {
        "lifecycle",
        "stages",
        "attempts",
        "answers",
        "express",
        "forwarding",
        "listing",
        "counting",
        "commands",
        "settlement",
        "verdicts",
        "images",
        "translating",
        "archive",
        "recalling",
        "conversing",
    },
    {"storage", "telemetry"},
    {"control"},
    {
        "app",
        "worker",
        "controlling",
        "assembly",
        "crashes",
        "upkeep",
        "supervisor",
        "child",
        "provision",
        "discovery",
        "following",
        "priority",
    },
    {"cli", "__main__"},
)
SIBLINGS = (
    {"canonical", "wire", "link"},
    {"accept", "identity", "ledger", "scheduler", "upstream"},
    {"storage", "telemetry"},
)
IMPURE = {"trio", "socket", "select", "ssl", "sqlite3", "time", "logging", "subprocess", "httpx", "asyncio"}

# trio.lowlevel beyond checkpoint() has no guard rails: raw readiness, waking a task by hand, and the other event loop.
MAY_USE_LOWLEVEL = {"sockets.py", "upstream/pump.py", "storage/bridge.py"}

# A bug is never a refusal: `except Exception` stands at the borders that keep one failure from ending the others.
MAY_CATCH_EVERYTHING = {
    "fibers.py": "the connection's border: a fiber's end is reported to accept/door.py, with its error",
    "upstream/registry.py": "the backend's border; and the index, which is of all of them",
    "stages.py": "the end of many requests at once: a bug in one must not lose the records of the others",
    "attempts.py": "an express request's end: a bug in it is handed to the fiber, which holds what is to be given back",
    "upstream/backend.py": "the same: one task sweeps for all backends, and a bug in one is handed to its own nursery",
    "control/connections.py": "the border of a connection to the control plane: what its server raises ends that one",
    "sockets.py": "one epoll serves many connections and backends: the same two borders, at their sources",
}

# bench sees the gateway from outside, except where a part is measured by itself, or fed as a worker would feed it.
MEASURES_FROM_INSIDE = {
    "bench/company.py",
    "bench/microscheduler.py",
    "bench/ingest.py",
    "bench/snapshot.py",
    "bench/overshoot.py",
    "bench/export.py",
}

MAX_LINES = 700

# Sources whose test file has another name. Everything else: mrproxy/a/b.py is tested by tests/a/test_b.py.
TESTED_ELSEWHERE: dict[str, str] = {
    "mrproxy/app.py": "tests/front_door: whole processes, reloaded, drained and killed",
    "mrproxy/controlling.py": "tests/front_door: as above, with a database and without",
    "mrproxy/__main__.py": "two lines; every test that starts a process goes through it",
    "mrproxy/cli/lazy.py": "tests/cli/test_main.py: every command is found by it, and imports no other",
    "mrproxy/cli/version.py": "one line; tests/cli/test_main.py prints it",
    "mrproxy/cli/children.py": "tests/cli/test_serve.py, tests/test_child.py: processes are started through it",
    "mrproxy/cli/options.py": "tests/cli/test_main.py: options are what the commands take",
    "mrproxy/config/__main__.py": "one line; tests/config/test_describe.py compares its output",
    "mrproxy/control/__main__.py": "one line; tests/control/api/test_reference.py compares its output",
    "mrproxy/config/settings.py": "tests/config/test_load.py: every setting through every source",
    "mrproxy/config/tables.py": "tests/config/test_load.py: tables are read and refused there",
    "mrproxy/clock.py": "one line that reads the clock",
    "mrproxy/control/signin/assembly.py": "tests/control/signin/conftest.py: all tests there ask what it makes",
    "mrproxy/control/signin/audited.py": "tests/control/signin/test_session_api.py: the audit log of signing in",
    "mrproxy/control/signin/oidc/provisioning.py": "tests/control/signin/oidc/test_routes.py: whom providers make here",
    "mrproxy/storage/migrations/env.py": "tests/storage/test_migrate.py: Alembic loads it, nobody imports it",
    "mrproxy/storage/migrations/versions/r0001_records.py": "tests/storage/test_migrate.py: each, on both databases",
    "mrproxy/storage/migrations/versions/r0002_control_plane.py": "tests/storage/test_migrate.py: as above",
    "mrproxy/storage/schema_base.py": "tests/storage/test_schema.py: every table is named by it",
    "mrproxy/storage/schema_people.py": "tests/storage/test_migrate.py: what the revisions build is what it says",
    "mrproxy/storage/schema_control.py": "tests/storage/test_migrate.py: as above",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    """`mrproxy/wire/http1.py` → wire, `mrproxy/app.py` → app."""
    return path.relative_to(ROOT / "mrproxy").parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path: Path) -> set[str]:
    return {module.split(".")[1] for module in imported_modules(path) if module.startswith("mrproxy.")}


def layer_of(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def docstring(path: Path) -> str:
    return ast.get_docstring(tree(path)) or ""


@pytest.mark.parametrize("path", WITHOUT_ROOT, ids=name_of)
def test_imports_go_downwards(path):
    part = part_of(path)
    for imported in imported_parts(path) - {part}:
        assert layer_of(imported) <= layer_of(part), f"{part} imports {imported}, which is above it"
        for siblings in SIBLINGS:
            assert not {part, imported} <= siblings, f"{part} imports its sibling {imported}"


def test_every_part_has_its_layer():
    parts = {part_of(path) for path in OURS} - {"__init__"}
    assert parts <= set().union(*LAYERS)


def test_bench_and_sidecar_keep_their_distance():
    for path in ROOT.glob("bench/**/*.py"):
        if name_of(path) not in MEASURES_FROM_INSIDE:
            assert imported_parts(path) <= {"wire", "canonical"}, name_of(path)
    for path in ROOT.glob("sidecar/**/*.py"):
        assert not any(module.startswith("mrproxy") for module in imported_modules(path)), name_of(path)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text().strip()], ids=name_of)
def test_every_module_says_what_it_is(path):
    text = docstring(path)
    assert text.startswith(("Pure. ", "Shell. ")), f"{name_of(path)} begins with {text[:30]!r}"
    assert len(text.splitlines()) <= 20


@pytest.mark.parametrize("path", [path for path in SOURCES if docstring(path).startswith("Pure.")], ids=name_of)
def test_pure_modules_touch_no_world(path):
    imported = {module.split(".")[0] for module in imported_modules(path)}
    assert not imported & IMPURE


def uses_lowlevel(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute) and ast.unparse(node.value) == "trio.lowlevel" and node.attr != "checkpoint"
        for node in ast.walk(tree(path))
    )


def test_lowlevel_stays_where_it_is_understood():
    for path in OURS:
        assert "trio.lowlevel" not in {module.rpartition(".")[0] for module in imported_modules(path)}, name_of(path)
    assert {str(path.relative_to(ROOT / "mrproxy")) for path in OURS if uses_lowlevel(path)} <= MAY_USE_LOWLEVEL


def catches_everything(path: Path) -> bool:
    handlers = (node for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler))
    return any(node.type is None or ast.unparse(node.type) == "Exception" for node in handlers)


def test_everything_is_caught_at_the_borders_only():
    users = {str(path.relative_to(ROOT / "mrproxy")) for path in OURS if catches_everything(path)}
    assert users == set(MAY_CATCH_EVERYTHING)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_are_of_a_size_to_be_read(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_functions_are_short_where_it_counts():
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in OURS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    )
    assert lengths[len(lengths) // 2] < 10


def expected_test(path: Path) -> Path:
    inner = path.relative_to(ROOT / "mrproxy") if path in OURS else path.relative_to(ROOT)
    return ROOT / "tests" / inner.parent / f"test_{inner.name}"


@pytest.mark.parametrize("path", [path for path in OURS if path.stem != "__init__"], ids=name_of)
def test_every_source_file_has_its_test_file(path):
    if name_of(path) in TESTED_ELSEWHERE:
        assert not expected_test(path).exists(), "listed as tested elsewhere, and has a test file"
    else:
        assert expected_test(path).exists(), f"write {name_of(expected_test(path))}, or say where it is tested"


def test_no_exception_outlives_its_file():
    for name in TESTED_ELSEWHERE:
        assert (ROOT / name).exists(), name
