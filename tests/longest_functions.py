"""Prints the ten longest functions of mrproxy, longest first: `make lint` shows them, so that they are seen growing."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def functions(source: str) -> Iterator[tuple[int, str]]:
    """(lines, name) of every function in this source text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, node.name


def longest(root: Path, count: int = 10) -> list[tuple[int, str]]:
    found = [
        (lines, f"{path.relative_to(root)}: {name}")
        for path in root.glob("mrproxy/**/*.py")
        for lines, name in functions(path.read_text())
    ]
    return sorted(found, reverse=True)[:count]


if __name__ == "__main__":
    print("Longest functions (40 lines are the limit of the style):")
    for lines, name in longest(ROOT):
        print(f"{lines:5}  {name}")
