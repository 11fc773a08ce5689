"""The table of what the simulation finds names every planted bug, and a bug for every rule and counterexample."""

import re
from pathlib import Path

from tests.simulation.planted import PLANTED
from tests.simulation.planted_entries import ENTRIES
from tests.simulation.planted_families import FAMILIES

ROWS = re.findall(
    r"^\| (?:\*\*(\w+)\*\*)?.*? \| (`.*`) \|$", Path(__file__).with_name("README.md").read_text(), re.M
)
NAMED = {name: re.findall(r"`([^`]+)`", bugs) for name, bugs in ROWS if name}


def test_the_table_names_the_planted_bugs() -> None:
    named = {bug for _, bugs in ROWS for bug in re.findall(r"`([^`]+)`", bugs)}
    assert named == PLANTED.keys() | FAMILIES.keys() | ENTRIES.keys()


def test_every_rule_and_counterexample_has_a_bug() -> None:
    wanted = [*(f"R{n}" for n in range(1, 16)), *(f"C{n}" for n in range(1, 17)), "slot", "retry", "child"]
    assert list(NAMED) == wanted
    assert all(NAMED.values())
