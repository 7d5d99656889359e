"""Shell. What documents name is there: files and functions of docs/life-of-a-request.md, and every relative link."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mrproxy"
LIFE = ROOT / "docs" / "life-of-a-request.md"
DOCUMENTS = sorted(chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")))

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?:[a-z_0-9]+/)*[a-z_0-9]+\.py")
ROOTED = re.compile(r"`((?:mrproxy|bench|tests|docs)/[\w./-]+)`")
IN_FILE = re.compile(rf"`({FILE.pattern})`\s+`([\w.]+)`")
MEMBER = re.compile(r"[A-Z]\w+\.[A-Za-z_]\w*")
PLAIN = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|_[a-z_]+")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchor(heading: str) -> str:
    """As GitHub makes them: lower case, punctuation gone, blanks to hyphens."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


@cache
def anchors(document: Path) -> frozenset[str]:
    return frozenset(anchor(each) for each in re.findall(r"^#+ (.+)$", prose(document.read_text()), re.MULTILINE))


def broken_links(document: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (fragment and fragment not in anchors(target)):
            yield link


@cache
def names() -> tuple[frozenset[str], frozenset[str]]:
    """(every name and word that a file of ours has, `Class.member` of every class with what it inherits)."""
    nodes = [node for path in PACKAGE.glob("**/*.py") for node in ast.walk(ast.parse(path.read_text()))]
    classes: dict[str, list[ast.ClassDef]] = {}  # several have one name
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            classes.setdefault(node.name, []).append(node)
    given = frozenset(name for node in nodes for name in (*given_by(node), *words_of(node)))
    return given, frozenset(f"{name}.{member}" for name in classes for member in members_of(name, classes))


def given_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name


def words_of(node: ast.AST) -> Iterator[str]:
    """Codes of errors, states of usage and the like."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def members_of(name: str, classes: dict[str, list[ast.ClassDef]]) -> Iterator[str]:
    for found in classes.get(name, ()):
        for node in ast.walk(found):
            yield from given_by(node)
        for base in found.bases:
            yield from members_of(ast.unparse(base).partition("[")[0], classes)


def missing(text: str) -> list[str]:
    """Of what stands in backquotes and looks like ours: files below mrproxy/, methods, functions, fields."""
    given, members = names()
    wrong = []
    for quoted in QUOTED.findall(prose(text)):
        is_there = True
        if FILE.fullmatch(quoted):
            is_there = (PACKAGE / quoted).exists()
        elif MEMBER.fullmatch(quoted):
            is_there = quoted in members
        elif PLAIN.fullmatch(quoted):
            is_there = quoted in given
        if not is_there:
            wrong.append(quoted)
    return wrong


def misplaced(text: str) -> list[str]:
    """`file.py` `name`, where the file gives that name to nothing."""
    return [
        f"{path} {name}"
        for path, name in IN_FILE.findall(prose(text))
        if not set(name.split(".")) <= given_in(PACKAGE / path)
    ]


@cache
def given_in(path: Path) -> frozenset[str]:
    return frozenset(name for node in ast.walk(ast.parse(path.read_text())) for name in given_by(node))


def test_what_is_said_to_be_in_a_file_is_in_it():
    assert misplaced(LIFE.read_text()) == []
    assert misplaced("`lifecycle.py` `serve_connection`; `lifecycle.py`\n`Relay.start`") == ["lifecycle.py Relay.start"]


def test_files_and_functions_of_the_life_of_a_request_exist():
    assert missing(LIFE.read_text()) == []


def test_a_file_a_method_and_a_function_that_are_not_there_are_found():
    text = "`lifecycle.py` `serve_connection` `Relay.start`, but `gone.py`, `Relay.begone` and `serve_nobody`"
    assert missing(text) == ["gone.py", "Relay.begone", "serve_nobody"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_relative_link_leads_somewhere(document):
    assert list(broken_links(document, document.read_text())) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_file_that_a_document_names_with_its_folder_exists(document):
    assert [path for path in ROOTED.findall(document.read_text()) if not (ROOT / path).exists()] == []


def test_links_to_no_file_and_to_no_heading_are_found():
    text = "[a](gone.md) [b](design.md#nowhere) [c](design.md#processes) [d](#the-aim) [e](https://example.org/gone.md)"
    assert list(broken_links(ROOT / "docs" / "design.md", text)) == ["gone.md", "design.md#nowhere"]
