"""Small mistakes in Python source, each a changed node of its syntax tree.

A mistake is one that a programmer could make and a reader could miss: `<` for `<=`, a sign, a constant that is one
off, a lost `not`, `detach` or keyword, arguments in the other order, a statement that is gone. What no behaviour hangs
on is left alone: texts, names of types, what is written for people only.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "minimum": "maximum",
    "maximum": "minimum", "amin": "amax", "amax": "amin", "sin": "cos", "cos": "sin", "argmin": "argmax",
    "argmax": "argmin", "startswith": "endswith", "endswith": "startswith", "append": "extend",
}  # fmt: skip
LOST = {
    "detach", "clone", "copy", "strip", "lower", "abs", "square", "sqrt", "log", "exp", "sorted", "reversed",
    "sigmoid", "tanh", "double", "float", "long", "t", "resolve", "flatten",
}  # fmt: skip
"""Calls of one value that are left out: ``x.detach()`` and ``sorted(x)`` become ``x``."""
ORDER_IS_NOTHING = {"isinstance", "issubclass", "min", "max", "zip", "hasattr", "range", "cast", "field", "check"}
FOR_PEOPLE = {
    "say", "tell", "warn", "say_aside", "complain", "debug", "info", "warning", "error", "Finding", "print", "classes",
    "style", "props", "tooltip", "label", "notify", "markdown", "icon", "TypeVar", "getLogger",
}  # fmt: skip
"""Calls whose arguments are words or looks."""


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        file: path below ``src``.
        number: of the mistake among all that are possible in the file.
        line, last: lines of the node that is changed.
        first: line on which its statement begins.
        operator: kind of mistake.
        before, after: the node's source.
        place: name of the function or class around it; "" at the top of the module.
        runs: whether it lies inside a function, so that tests execute it; else the module does, when it is imported.
        nth: how many mistakes of the same words stand before it in its place.
        names: what its statement gives a value to, where it lies outside of functions.
        body: first and last line of the function whose default it is; else (0, 0).
    """

    file: str
    number: int
    line: int
    last: int
    first: int
    operator: str
    before: str
    after: str
    place: str
    runs: bool
    nth: int
    names: tuple[str, ...]
    body: tuple[int, int]

    @property
    def key(self) -> str:
        """Return what tells it from all others, also after lines around it have moved."""
        words = (self.file, self.place, self.operator, self.before, self.after, str(self.nth))
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


Change = tuple[str, Callable[[ast.AST], ast.AST]]


@dataclass
class Site:
    """A node that can be changed, where it stands, and a change; ``field``, ``index``: where its parent holds it."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    statement: ast.stmt
    place: str
    runs: bool
    operator: str
    change: Callable[[ast.AST], ast.AST]


def mutants(source: str, file: str) -> list[Mutant]:
    """Return all mistakes that are possible in a file."""
    found: list[Mutant] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for number, site in enumerate(sites(ast.parse(source))):
        node, statement = site.node, site.statement
        before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(site.change(copy.deepcopy(node))))
        line, last = getattr(node, "lineno", statement.lineno), getattr(node, "end_lineno", statement.lineno)
        words = (site.place, site.operator, before, after)
        lines = (line, last, statement.lineno)
        about = (seen[words], _names(statement), _body(statement))
        seen[words] += 1
        if before != after:
            found.append(Mutant(file, number, *lines, site.operator, before, after, site.place, site.runs, *about))
    return found


def _names(statement: ast.stmt) -> tuple[str, ...]:
    """Return the names that a statement gives a value to."""
    targets = {ast.Assign: "targets", ast.AnnAssign: "target", ast.AugAssign: "target"}
    held = getattr(statement, targets.get(type(statement), ""), [])
    nodes = [node for target in (held if isinstance(held, list) else [held]) for node in ast.walk(target)]
    return tuple(node.id for node in nodes if isinstance(node, ast.Name))


def _body(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines of a function's body."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return statement.body[0].lineno, statement.body[-1].end_lineno or 0
    return 0, 0


def mutated(source: str, number: int) -> ast.Module:
    """Return a file's syntax tree with one mistake; line numbers are those of the source."""
    tree = ast.parse(source)
    site = next(one for n, one in enumerate(sites(tree)) if n == number)
    changed = ast.copy_location(site.change(copy.deepcopy(site.node)), site.node)
    if site.index is None:
        setattr(site.parent, site.field, changed)
    else:
        getattr(site.parent, site.field)[site.index] = changed
    return ast.fix_missing_locations(tree)


def sites(tree: ast.Module) -> Iterator[Site]:
    """Return every node that can be changed, each as often as there are changes of it."""
    for statement, parent, field, index, place, runs in _statements(tree, "", False):
        for operator, change in _changes_of_statement(statement, runs):
            yield Site(statement, parent, field, index, statement, place, runs, operator, change)
        if not isinstance(statement, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom):
            for node, above, name, at in _expressions(statement):
                for operator, change in _changes(node, above, name):
                    yield Site(node, above, name, at, statement, place, runs, operator, change)


Placed = tuple[ast.stmt, ast.AST, str, int, str, bool]


def _statements(node: ast.AST, place: str, runs: bool) -> Iterator[Placed]:
    """Return the statements below a node, with what holds them."""
    for field in ("body", "orelse", "finalbody"):
        for index, statement in enumerate(getattr(node, field, ())):
            if isinstance(statement, ast.stmt) and not _for_tools(statement):
                yield statement, node, field, index, place, runs
                yield from _below(statement, place, runs)
    for handler in getattr(node, "handlers", ()):
        yield from _statements(handler, place, runs)
    for case in getattr(node, "cases", ()):
        yield from _statements(case, place, runs)


def _below(statement: ast.stmt, place: str, runs: bool) -> Iterator[Placed]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        if statement.name not in ("__repr__", "__str__"):
            yield from _statements(statement, f"{place}.{statement.name}".strip("."), True)
    elif isinstance(statement, ast.ClassDef):
        yield from _statements(statement, f"{place}.{statement.name}".strip("."), runs)
    else:
        yield from _statements(statement, place, runs)


def _for_tools(statement: ast.stmt) -> bool:
    """Return whether nothing at run time depends on it: docstrings, ``__all__``, what a type checker reads."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id in ("__all__", "__slots__")
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
        return True
    called = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(called, ast.Call) and _called(called) in FOR_PEOPLE


def _called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _expressions(statement: ast.stmt) -> Iterator[tuple[ast.AST, ast.AST, str, int | None]]:
    """Return the expressions of a statement with what holds them, but not those of statements inside it."""
    skipped = {"annotation", "returns", "decorator_list", "bases", "keywords_of_class", "type_params", "type_comment"}

    def walk(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None]]:
        for field, value in ast.iter_fields(node):
            if field in skipped or (isinstance(node, ast.Call) and _called(node) in FOR_PEOPLE and field != "func"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.stmt | ast.JoinedStr | ast.excepthandler):
                    yield child, node, field, index
                    yield from walk(child)

    if not isinstance(statement, ast.ClassDef):
        yield from walk(statement)


def _changes_of_statement(node: ast.stmt, runs: bool) -> Iterator[Change]:
    """Return what can be done to a whole statement."""
    attribute = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    if runs and (attribute or isinstance(node, ast.Raise | ast.Delete) or _is_call(node)):
        yield "statement removed", lambda one: ast.Pass()
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield "arithmetic", _with_op(ARITHMETIC[type(node.op)])
    if isinstance(node, ast.Return) and runs and node.value is not None:
        yield "return value", lambda one: ast.Return(ast.Constant(None))
    if isinstance(node, ast.Break):
        yield "break, continue", lambda one: ast.Continue()
    if isinstance(node, ast.Continue):
        yield "break, continue", lambda one: ast.Break()


def _is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)


def _with_op(op: type) -> Callable[[ast.AST], ast.AST]:
    def change(node: ast.AST) -> ast.AST:
        node.op = op()  # type: ignore[attr-defined]
        return node

    return change


def _changes(node: ast.AST, above: ast.AST, field: str) -> Iterator[Change]:
    """Return what can be done to an expression."""
    if isinstance(node, ast.expr) and field == "test" and not isinstance(node, ast.Constant):
        yield "condition negated", lambda one: ast.UnaryOp(ast.Not(), one)  # type: ignore[arg-type]
    if field == "ifs":
        yield "condition left out", lambda one: ast.Constant(True)
    kinds = {
        ast.Compare: _of_comparison, ast.BinOp: _of_arithmetic, ast.BoolOp: _of_boolean, ast.UnaryOp: _of_unary,
        ast.Constant: _of_constant, ast.Call: _of_call, ast.Slice: _of_slice, ast.IfExp: _of_choice,
    }  # fmt: skip
    if type(node) in kinds:
        yield from kinds[type(node)](node)


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    def change(one: ast.AST) -> ast.AST:
        one.ops[0] = COMPARISONS[type(one.ops[0])]()  # type: ignore[attr-defined]
        return one

    yield "comparison", change


def _of_arithmetic(node: ast.BinOp) -> Iterator[Change]:
    text = any(isinstance(part, ast.JoinedStr) or _is_text(part) for part in (node.left, node.right))
    if type(node.op) in ARITHMETIC and not text:
        yield "arithmetic", _with_op(ARITHMETIC[type(node.op)])
    if isinstance(node.op, ast.BitOr) and not _is_type(node):
        yield "operand left out", lambda one: one.left  # type: ignore[attr-defined]
        yield "operands swapped", lambda one: ast.BinOp(one.right, one.op, one.left)  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_type(node: ast.BinOp) -> bool:
    """Return whether a union is one of types."""
    parts = ast.unparse(node).split(" | ")
    known = {"int", "float", "str", "bool", "None", "bytes", "list", "dict", "tuple"}
    return all(part in known or part.rpartition(".")[2][:1].isupper() or "[" in part for part in parts)


def _of_boolean(node: ast.BoolOp) -> Iterator[Change]:
    yield "and, or", _with_op(ast.Or if isinstance(node.op, ast.And) else ast.And)

    def without(at: int) -> Callable[[ast.AST], ast.AST]:
        def change(one: ast.AST) -> ast.AST:
            left = [part for n, part in enumerate(one.values) if n != at]  # type: ignore[attr-defined]
            return left[0] if len(left) == 1 else ast.BoolOp(one.op, left)  # type: ignore[attr-defined]

        return change

    for at in range(len(node.values)):
        yield "condition left out", without(at)


def _of_unary(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield "not left out", lambda one: one.operand  # type: ignore[attr-defined]
    if isinstance(node.op, ast.USub):
        yield "minus left out", lambda one: one.operand  # type: ignore[attr-defined]


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield "constant", lambda one: ast.Constant(not one.value)  # type: ignore[attr-defined]
    elif isinstance(node.value, int):
        yield "constant", lambda one: ast.Constant(one.value + 1)  # type: ignore[attr-defined]
        if node.value > 0:
            yield "constant", lambda one: ast.Constant(one.value - 1)  # type: ignore[attr-defined]
    elif isinstance(node.value, float):
        yield "constant", lambda one: ast.Constant(2 * one.value if one.value else 1.0)  # type: ignore[attr-defined]


def _of_call(node: ast.Call) -> Iterator[Change]:
    name, plain = _called(node), not any(isinstance(part, ast.Starred) for part in node.args)
    if name in NAMES:
        yield "another function", _renamed
    if name in LOST and isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
        yield "call left out", lambda one: one.func.value  # type: ignore[attr-defined]
    if name in LOST and isinstance(node.func, ast.Name) and len(node.args) == 1 and plain:
        yield "call left out", lambda one: one.args[0]  # type: ignore[attr-defined]
    if len(node.args) >= 2 and plain and name not in ORDER_IS_NOTHING | FOR_PEOPLE:
        yield "arguments swapped", _swapped

    def without(at: int) -> Callable[[ast.AST], ast.AST]:
        def change(one: ast.AST) -> ast.AST:
            del one.keywords[at]  # type: ignore[attr-defined]
            return one

        return change

    for at, keyword in enumerate(node.keywords):
        words = _is_text(keyword.value) or isinstance(keyword.value, ast.JoinedStr)
        if keyword.arg not in (None, "strict") and not words and name not in FOR_PEOPLE:
            yield "keyword left out", without(at)


def _renamed(one: ast.AST) -> ast.AST:
    function = one.func  # type: ignore[attr-defined]
    field = "attr" if isinstance(function, ast.Attribute) else "id"
    setattr(function, field, NAMES[getattr(function, field)])
    return one


def _swapped(one: ast.AST) -> ast.AST:
    one.args[:2] = one.args[1::-1]  # type: ignore[attr-defined]
    return one


def _of_slice(node: ast.Slice) -> Iterator[Change]:
    def moved(field: str) -> Callable[[ast.AST], ast.AST]:
        def change(one: ast.AST) -> ast.AST:
            setattr(one, field, ast.BinOp(getattr(one, field), ast.Add(), ast.Constant(1)))
            return one

        return change

    for field in ("lower", "upper"):
        bound = getattr(node, field)
        if bound is not None and not isinstance(bound, ast.Constant):
            yield "end of a slice", moved(field)


def _of_choice(node: ast.IfExp) -> Iterator[Change]:
    yield "other branch", lambda one: one.orelse  # type: ignore[attr-defined]
