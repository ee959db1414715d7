"""Which modules the code of a module imports, without running it."""

from __future__ import annotations

import ast


def imported(tree: ast.AST, module: str, *, is_package: bool = False) -> set[str]:
    """Names of all that the code may import, at its top or inside a function, each with the packages above it.

    The name of a function or class of a module is among them as if it were a module's: whoever has the files knows. A
    name that is put together as the code runs is not seen, and imports for type checkers alone are left out.

    Args:
        tree: the code.
        module: its name, which relative imports begin from.
        is_package: whether it is that of a package's `__init__.py`.
    """
    names: set[str] = set()
    ahead: list[ast.AST] = [tree]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            ahead.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            package = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*package, *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base else set()
        ahead.extend(ast.iter_child_nodes(node))
    return {above for name in names for above in with_packages(name)}


def with_packages(name: str) -> list[str]:
    """A module's name after those of the packages that it is in."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
