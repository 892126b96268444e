# pyright: basic
"""Names that compiled code looks up in, or sets in, its globals."""

from __future__ import annotations

import ast
import dis
import keyword
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

#: Names by which code inside functions reaches any name.
REACHES_ALL_INSIDE = frozenset(("globals", "exec", "eval", "get_ipython", "__main__"))
#: Calls that evaluate names in texts: pandas, numexpr, SQL over data frames, formulas, timing.
EVALUATING = frozenset(
    (
        "query", "eval", "sql", "execute", "read_sql", "read_sql_query", "dmatrix", "dmatrices", "timeit", "repeat",
        "where", "Formula", "model_matrix", "format_map", "evaluate", "from_formula", "runctx", "run",
    )
)  # fmt: skip
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


@dataclass
class Names:
    """Names that code looks up in, or sets in, its globals; ``texts``: constants; ``words``: everything mentioned."""

    loads: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)


def names_of_code(code: types.CodeType, into: Optional[Names] = None) -> Names:
    """Of a code object and all code inside it."""
    found = into if into is not None else Names()
    found.words.update(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            found.loads.add(instruction.argval)
        elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found.stores.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names_of_code(constant, found)
        elif isinstance(constant, str):
            found.texts.append(constant)
    return found


def evaluated_names(names: Names) -> Iterator[str]:
    """Names inside the texts of a function that evaluates texts."""
    evaluating = bool(names.words & EVALUATING)
    for text in names.texts:
        if evaluating or "~" in text:
            yield from identifiers(text)


def names_of_node(node: ast.AST) -> Optional[Names]:
    """Of one definition or expression; None if it cannot be compiled by itself."""
    if isinstance(node, ast.stmt):
        tree = ast.Module(body=[node], type_ignores=[])
    else:
        tree = ast.Module(body=[ast.Expr(value=node)], type_ignores=[])  # type: ignore[arg-type]
    ast.fix_missing_locations(tree)
    try:
        code = compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return names_of_code(code)


def identifiers(text: str) -> Iterator[str]:
    """Words of a text that could be names."""
    for word in _IDENTIFIER.findall(text):
        if not keyword.iskeyword(word):
            yield word
