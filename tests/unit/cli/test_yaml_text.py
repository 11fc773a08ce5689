"""YAML reads what it wrote, takes text for text, and states no more than fits."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.cli import yaml_text

WORDS = st.sampled_from(
    ["yes", "no", "on", "~", "null", "1e5", "007", "0x1f", "1_000", "12:30", "2026-01-31", "<<", "="]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | WORDS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text() | WORDS, below, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert yaml_text.read(yaml_text.write(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("007", "007"),
        ("12:30", "12:30"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("True", True),
        ("-4", -4),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {q: 1}\nb: {<<: *x, r: 2}", {"a": {"q": 1}, "b": {"q": 1, "r": 2}}),
    ],
)
def test_words_mean_what_they_mean_in_yaml_1_2(text: str, value: Any) -> None:
    assert yaml_text.read(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "the key a stands twice (line 2, column 1)"),
        ("a: [", "line 1"),
        ("{1: 2}", "expected text as a key"),
        ("a: !!python/object/apply:os.system [x]", "tag"),
        ("a: !!timestamp 2026-01-31", "tag"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: " + "[" * 5_000, "nested too deeply"),
        ("&a [*a]", "more than"),
        (
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 8)}]\n" for n in range(8)
            ),
            "more than",
        ),
        ("\x00", "not allowed"),
    ],
    ids=range(10),
)
def test_what_is_no_plain_value_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        yaml_text.read(text)
