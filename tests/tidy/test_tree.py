"""Everything has its place, and nothing in it belongs to one machine."""

import re

from tests.tidy import tree

ROOT_FILES = {
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements-bootstrap.lock",
    "requirements.lock",
}
ROOT_FOLDERS = {".ci", "deploy", "docs", "libs", "services", "tests"}
# Written apart, so that this file does not find itself.
MACHINE_PATHS = ("/wo" + "rk/", "/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/")
REGISTRIES = ("py" + "pi.", "python" + "hosted.", "npm" + "js.", "--index" + "-url", "--extra-index" + "-url")
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X")


def test_the_root_holds_only_what_a_newcomer_expects() -> None:
    names = {tree.name(path).partition("/") for path in tree.files()}
    assert {first for first, slash, _ in names if not slash} - ROOT_FILES == set()
    assert {first for first, slash, _ in names if slash} - ROOT_FOLDERS == set()


def test_every_decision_is_linked_from_the_list_of_decisions() -> None:
    decisions = [
        tree.name(path) for path in tree.files() if re.fullmatch(r"docs/adr/\d{4}-.*\.md", tree.name(path))
    ]
    listed = (tree.ROOT / "docs/adr/README.md").read_text() if decisions else ""
    assert [path for path in decisions if path.removeprefix("docs/adr/") not in listed] == []


def test_every_link_between_our_pages_leads_somewhere() -> None:
    pages = [path for path in tree.files() if path.suffix == ".md"]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert [f"{tree.name(page)} -> {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert _found(MACHINE_PATHS, inside_names=False) == []


def test_no_file_says_where_packages_come_from() -> None:
    assert _found(REGISTRIES, inside_names=True) == []


def test_nothing_is_left_for_later() -> None:
    assert _found(UNFINISHED, inside_names=False) == []


def _found(words: tuple[str, ...], *, inside_names: bool) -> list[str]:
    """Return the lines with one of the words; unless `inside_names`, only where no longer name ends in it."""
    start = "" if inside_names else r"(?<![\w.}])"
    pattern = re.compile(start + "(?:" + "|".join(map(re.escape, words)) + ")")
    return [
        f"{tree.name(path)}:{number}: {line.strip()[:100]}"
        for path in tree.files()
        if path.suffix != ".svg" and b"\0" not in (content := path.read_bytes())
        for number, line in enumerate(content.decode().splitlines(), start=1)
        if pattern.search(line)
    ]
