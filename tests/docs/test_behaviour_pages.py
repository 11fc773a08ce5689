"""The pages of stated behaviour name tests that exist, and no test of a stated section is missing from them."""

import ast
import re
from functools import cache

import pytest

from tests.docs import pages

FOLDER = "docs/behaviour"
FOLDERS = ("tests/e2e", "tests/faults")
INDEX = f"{FOLDER}/README.md"
_OF_A_SECTION = re.compile(r"test_(?:section_)?(\d+)_")


def section_pages() -> dict[str, str]:
    """Return the pages by the number of their section."""
    found = sorted((pages.ROOT / FOLDER).glob("[0-9]*-*.md"))
    return {path.name.partition("-")[0]: path.relative_to(pages.ROOT).as_posix() for path in found}


@cache
def proofs() -> frozenset[str]:
    """Return the tests over HTTP as `file.function`."""
    return frozenset(
        f"{path.stem}.{node.name}"
        for folder in FOLDERS
        for path in (pages.ROOT / folder).glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_the_index_lists_every_page() -> None:
    links = re.findall(r"^\| (\d+) \| \[[^\]]+\]\(([^)]+)\) \|$", pages.read(INDEX), re.MULTILINE)
    assert {number: f"{FOLDER}/{name}" for number, name in links} == section_pages()


@pytest.mark.parametrize("page", section_pages().values())
def test_every_statement_is_told_once_and_names_tests_that_exist(page: str) -> None:
    rows = pages.rows(pages.prose(page))
    assert rows
    assert {len(row) for row in rows} == {2}
    statements = [statement for statement, _ in rows]
    assert len(statements) == len(set(statements))
    for statement, shown_by in rows:
        named = pages.words(shown_by)
        assert named, statement
        assert set(named) - proofs() == set(), statement


def test_every_test_of_a_section_stands_on_its_page() -> None:
    told = {number: set(pages.words(pages.prose(page))) for number, page in section_pages().items()}
    missing = []
    for proof in sorted(proofs()):
        if proof.startswith("test_flow_like_"):  # the sections of the other contract
            continue
        found = _OF_A_SECTION.match(proof.partition(".")[2])
        if found and found[1] in told and proof not in told[found[1]]:
            missing.append(f"{section_pages()[found[1]]}: {proof}")
    assert missing == []
