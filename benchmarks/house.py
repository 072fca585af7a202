"""Counts how the house stands: rooms, floors, lengths, comments, words. ``make house`` prints it, one row a count.

python benchmarks/house.py [FOLDER ...]: folders of source trees (each with ``src/saddlepoint``); none: this one.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

PRIVATE = (
    "pull", "turns", "feel", "attend", "care", "unattended", "signs", "cures", "keeper", "world", "alone", "looks",
    "settle", "shelf", "desk", "patience", "answers", "guard", "given", "films", "curves", "plain", "tape", "clock",
    "joint", "words", "half", "clocked", "exams",
)  # fmt: skip
"""Words that the field has others for (docs/terms.md): counted where they name a module, a class or a function."""

OLD_CONTRACT = ("saddlepoint", "family.py")

TRAINING = ("families", "engine", "nn")
"""Rooms whose comments are counted: where an equation, a detach or a trap stands."""


def files(root: Path) -> list[Path]:
    """Return the package's files of Python."""
    return sorted((root / "src" / "saddlepoint").rglob("*.py"))


def lines(path: Path) -> int:
    """Return the number of lines."""
    return len(path.read_text().splitlines())


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def comments(path: Path) -> int:
    """Return the number of lines with a comment that says something: directives to tools do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    tools = re.compile(r"#\s*(fmt:|noqa|type:|pragma)")
    return len({t.start[0] for t in tokens if t.type == tokenize.COMMENT and not tools.match(t.string)})


def imports(tree: ast.AST) -> Iterator[ast.AST]:
    """Return all nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from imports(node)


def circles(root: Path) -> int:
    """Return how many groups of modules import one another, inside functions too."""
    names = {path: ".".join(path.relative_to(root / "src").with_suffix("").parts) for path in files(root)}
    known = {name.removesuffix(".__init__") for name in names.values()}
    edges = {name.removesuffix(".__init__"): set[str]() for name in names.values()}
    for path, name in names.items():
        for node in imports(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saddlepoint"):
                module = str(node.module)
                found = {f"{module}.{alias.name}" for alias in node.names}
                edges[name.removesuffix(".__init__")] |= {one if one in known else module for one in found} & known
    return sum(len(group) > 1 for group in strongly_connected(edges))


def strongly_connected(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of names that reach one another."""
    reach: dict[str, set[str]] = {}
    for begin in edges:
        seen, left = set[str](), [begin]
        while left:
            for one in edges.get(left.pop(), set()) - seen:
                seen.add(one)
                left.append(one)
        reach[begin] = seen
    groups, done = list[set[str]](), set[str]()
    for name in edges:
        if name not in done:
            groups.append({name} | {other for other in reach[name] if name in reach.get(other, set())})
            done |= groups[-1]
    return groups


def floors(root: Path) -> int:
    """Return how many floors import-linter holds."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(len(contract["layers"]) for contract in contracts if contract["type"] == "layers")


def private_names(trees: dict[Path, ast.Module]) -> int:
    """Return how many modules, classes and functions are called by a private word."""
    found = [path.stem for path in trees]
    for tree in trees.values():
        found += [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return sum(name.strip("_").lower() in PRIVATE for name in found)


def counts(root: Path) -> dict[str, str]:
    """Return each count by what it is."""
    paths = files(root)
    trees = {path: ast.parse(path.read_text()) for path in paths}
    top = [p for p in (root / "src" / "saddlepoint").iterdir() if p.suffix in (".py", "") and p.stem != "__pycache__"]
    every = [f for tree in trees.values() for f in functions(tree)]
    lengths = [(f.end_lineno or f.lineno) - f.lineno + 1 for f in every]
    training = [p for p in paths if p.relative_to(root / "src" / "saddlepoint").parts[0] in TRAINING]
    said, written = sum(map(comments, training)), sum(map(lines, training))
    parameters = [len(f.args.args) + len(f.args.kwonlyargs) for f in every]
    # The contract was a module of the package before it was one of a room.
    held = next(tree for path, tree in trees.items() if path.parts[-2:] in (("family", "contract.py"), OLD_CONTRACT))
    family = next(n for n in held.body if getattr(n, "name", "") == "Family")
    members = [n for n in family.body if isinstance(n, ast.FunctionDef | ast.AnnAssign)]  # type: ignore[attr-defined]
    sizes = list(map(lines, paths))
    return {
        "lines of source": f"{sum(map(lines, paths)):,}",
        "files; above 400 lines; longest": f"{len(sizes)}; {sum(size > 400 for size in sizes)}; {max(sizes)}",
        "names at the top of the package": f"{sum(not p.stem.startswith('_') for p in top)}",
        "floors": f"{floors(root)}",
        "circles of imports": f"{circles(root)}",
        "functions; median length; above 60 lines": (
            f"{len(every):,}; {statistics.median(lengths):g}; {sum(length > 60 for length in lengths)}"
        ),
        "most parameters of a function": f"{max(parameters)}",
        "members of Family": f"{len(members)}",
        "lines with a comment in families, engine, nn": f"{said / written:.1%}",
        "modules, classes, functions with a private word": f"{private_names(trees)}",
        "lines of docs/*.md; words": "; ".join(
            f"{sum(len(p.read_text().split(by)) for p in (root / 'docs').glob('*.md')):,}" for by in ("\n", None)
        ),
    }


def main(roots: list[Path]) -> None:
    """Print a table with a column for each tree."""
    columns = [counts(root) for root in roots]
    for name in columns[0]:
        sys.stdout.write(" | ".join(["", name, *(column[name] for column in columns), ""]).strip() + "\n")


if __name__ == "__main__":
    main([Path(root) for root in sys.argv[1:]] or [Path(__file__).parents[1]])
