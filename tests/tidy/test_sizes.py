"""Nothing grows past what can be read at one sitting."""

import ast

from tests.tidy import tree

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_a_file_is_short_enough_to_read() -> None:
    lengths = {
        tree.name(path): len(path.read_text().splitlines()) for path in tree.files() if path.suffix == ".py"
    }
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_a_function_fits_on_a_screen() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, module in tree.modules().items()
        for node in ast.walk(module)
        if isinstance(node, Function)
    }
    assert {function: lines for function, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_a_module_says_what_it_is() -> None:
    assert [path for path, module in tree.modules().items() if not ast.get_docstring(module)] == []


def test_an_init_file_has_no_logic() -> None:
    allowed = ast.Import | ast.ImportFrom | ast.Expr | ast.Assign | ast.AnnAssign
    inits = {path: module for path, module in tree.modules().items() if path.endswith("__init__.py")}
    assert [
        path for path, module in inits.items() if not all(isinstance(node, allowed) for node in module.body)
    ] == []
