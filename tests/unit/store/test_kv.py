"""The rules for KV entries: what grows how, and which scope wins."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.errors import Invalid, Refused
from libs.common.messages.kv import AppendKv, IncrementKv, KvConflict, SetKv
from services.store.domain.kv import KEY_CHARS_MAX, MISSING, VALUE_BYTES_MAX, check_key, next_value, resolved

AT = datetime(2026, 1, 2, tzinfo=UTC)
GIVEN: dict[str, Any] = {"id": "x", "at": AT, "company_id": "c" * 24, "key": "k"}


def append(old: Any, value: Any) -> Any:
    return next_value(AppendKv(**GIVEN, value=value), old)


def increment(old: Any, amount: float) -> Any:
    return next_value(IncrementKv(**GIVEN, amount=amount), old)


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        (MISSING, 1, [1]),
        (MISSING, [1], [[1]]),
        ([], None, [None]),
        ([1], [2], [1, [2]]),
        ("a", "b", "ab"),
        ("a", 1, "a1"),
        ("a", {"b": None}, 'a{"b":null}'),
    ],
)
def test_append_makes_pushes_or_joins(old: Any, value: Any, new: Any) -> None:
    assert append(old, value) == new


@pytest.mark.parametrize("old", [1, True, None, {"a": 1}])
def test_nothing_else_can_be_appended_to(old: Any) -> None:
    with pytest.raises(Refused, match="array or a string"):
        append(old, 1)


@pytest.mark.parametrize(
    ("old", "amount", "new"),
    [
        (MISSING, 1, 1),
        (None, 2, 2),
        (1, -3, -2),
        (1, 0.5, 1.5),
        # What a module has stored is a text, and stays one.
        ("42", 1, "43"),
        ("1.5", 1, "2.5"),
        (2**62, 2**62 - 1, 2**63 - 1),
    ],
)
def test_increment_adds_and_keeps_the_kind(old: Any, amount: float, new: Any) -> None:
    made = increment(old, amount)
    assert (made, type(made)) == (new, type(new))


@pytest.mark.parametrize("old", [True, [], {}, "", "abc", "nan", "inf", "1" * 41, 2**63 - 1, 1.7e308])
def test_what_is_no_number_or_would_be_none_cannot_be_incremented(old: Any) -> None:
    with pytest.raises(Refused) as caught:
        increment(old, 1.7e308 if isinstance(old, float) else 1)
    assert caught.value.code == "KV_TYPE_MISMATCH"


def test_values_have_a_limit_and_reach_it() -> None:
    longest = "x" * (VALUE_BYTES_MAX - 2)
    assert next_value(SetKv(**GIVEN, value=longest), MISSING) == longest
    with pytest.raises(Invalid, match=r"^value"):
        next_value(SetKv(**GIVEN, value=longest + "x"), MISSING)
    with pytest.raises(Invalid, match=r"^value"):
        append(longest, "x")


@pytest.mark.parametrize("key", ["", "\0", "a\0", "x" * (KEY_CHARS_MAX + 1), 7, None])
def test_a_key_is_a_text_of_some_length(key: Any) -> None:
    with pytest.raises(Invalid, match=r"^key"):
        check_key(key)


@pytest.mark.parametrize(
    ("values", "conflict", "found"),
    [
        ([MISSING, MISSING], "child", MISSING),
        ([], "merge", MISSING),
        (["flow", MISSING, "global"], "child", "flow"),
        (["flow", "group", "global"], "parent", "global"),
        ([None, "global"], "child", None),
        ([MISSING, "group", "global"], "child", "group"),
        (["flow", "global"], "merge", "flow"),
        ([[3], [2], [1]], "merge", [1, 2, 3]),
        ([{"a": 3}, {"a": 2, "b": 2}, {"a": 1, "c": 1}], "merge", {"a": 3, "b": 2, "c": 1}),
        ([{"a": {"x": [2]}}, {"a": {"x": [1], "y": 1}}], "merge", {"a": {"x": [1, 2], "y": 1}}),
        ([{"a": 1}, [1]], "merge", {"a": 1}),
    ],
)
def test_scopes_resolve_by_the_flows_rule(values: list[Any], conflict: KvConflict, found: Any) -> None:
    assert resolved(values, conflict) == found
