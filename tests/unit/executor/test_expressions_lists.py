"""Functions on lists, objects and numbers; and what the language says to those who know another one."""

from typing import Any

import pytest

from libs.expressions import compile_value
from libs.expressions.errors import ExpressionError
from tests.unit.executor.a_scope import error_of, of


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("first (list 1 2)", 1),
        ("last (list 1 2)", 2),
        ("first null", None),
        ("last (list)", None),
        ("reverse (list 1 2 3)", [3, 2, 1]),
        ("reverse 'abc'", "cba"),
        ("sort (list 'b' 10 '9' true null -1)", [-1, "9", 10, None, "b", True]),
        ("sort null", []),
        ("unique (list 1 '1' 1.0 'a' (list 1) (list 1) '[1]')", [1, "a", [1], "[1]"]),
        ("pluck (list (dict 'a' (dict 'b' 1)) (dict 'c' 2) 3) 'a.b'", [1, None, None]),
        ("keys (dict 'x' 1 'y' 2)", ["x", "y"]),
        ("values (dict 'x' 1 'y' 2)", [1, 2]),
        ("keys null", []),
        ("dict 1 2 1 3", {"1": 3}),
        ("list", []),
        ("sum (list 1 '2.5' null)", 3.5),
        ("sum null", 0),
        ("min 3 '2' 5", 2),
        ("max (list)", None),
        ("max 7", 7),
        ("floor -2.5", -3),
        ("ceil -2.5", -2),
        ("abs '-2.5'", 2.5),
        ("toNumber '1e3'", 1000),
        ("toString 1.0", "1"),
        ("coalesce null '' (list) 0 (div 1 0)", 0),
        ("coalesce null ''", ""),
        ("title 'it\\'s über-gut'", "It's Über-Gut"),
        ("repeat 'ab' 2", "abab"),
        ("trimPrefix 'aab' 'a'", "ab"),
        ("regexFind 'abc' 'x'", None),
        ("regexFind 'abc' 'b(c)'", "c"),
        ("regexMatch 'aß' '^.ß$'", True),
        ("fromJson null", None),
        ("$q.urldecode 'a%20b+c%C3%A4'", "a b cä"),
        ("$q.base64decode 'w6Q'", "ä"),
        ("$q.base64decode ($q.base64 'a?>')", "a?>"),
        ("$date.addMonths 1 '2024-01-31'", "2024-02-29T00:00:00Z"),
        ("$date.addMonths -13 '2024-01-31'", "2022-12-31T00:00:00Z"),
        ("$date.addHours 1.5 0", "1970-01-01T01:30:00Z"),
        (
            "$date.format '2006-01-02T15:04:05Z07:00 MST' 0 'America/New_York'",
            "1969-12-31T19:00:00-05:00 EST",
        ),
        ("$date.format '-07 -0700 -07:00:00 Z0700' '2024-07-01' 'Asia/Kolkata'", "+05 +0530 +05:30:00 +0530"),
        ("$date.format '15:04 Z07:00' '2024-07-01' 'UTC'", "00:00 Z"),
        ("$date.addSeconds 90 0", "1970-01-01T00:01:30Z"),
    ],
)
def test_lists_objects_and_numbers(expression: str, value: Any) -> None:
    made = of(expression)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("first 'abc'", "first needs a list, not a string"),
        ("keys (list 1)", "keys needs an object, not a list"),
        ("dict 'a'", "dict needs a value for each key"),
        ("sum (list 'a')", "sum needs numbers, not a string that is no number"),
        ("min null", "min needs numbers, not null"),
        ("toNumber 'ten'", "toNumber needs numbers, not a string that is no number"),
        ("repeat 'a' -1", "repeat counts from 0"),
        ("repeat 'aaaa' 90000000000", "this is more work than one evaluation may do"),
        ("regexMatch 'a' '('", "not a valid regular expression: missing ): ("),
        ("$q.urldecode '100%'", "a % is not followed by two hex digits"),
        ("$q.urldecode '%ff'", "the text does not hold UTF-8"),
        ("$q.base64decode '?'", "the text is not base64"),
        ("$q.base64decode '/w'", "the base64 does not hold UTF-8 text"),
        ("$date.addMonths 1e9", "the date is not in the calendar"),
        ("$date.format '15:04' 0 '../etc/passwd'", "this is no IANA time zone such as Europe/Berlin"),
        ("$date.format '15:04' 0 'Mars/Olympus'", "this is no IANA time zone such as Europe/Berlin"),
        ("$date.format '15:04' 0 ''", "this is no IANA time zone such as Europe/Berlin"),
        ("$date.format '2006' '0001-01-01' 'America/New_York'", "the date is not in the calendar"),
        ("floor 1e300", "the number is outside the 64-bit integers"),
    ],
)
def test_what_these_refuse(expression: str, message: str) -> None:
    assert error_of(f"{{{{ {expression} }}}}").message == message


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("{{ 1 + 2 }}", "there is no operator +; write (add a b)", 5),
        ("{{ $prev.a.n == 5 }}", "there is no operator ==; write (eq a b)", 13),
        ("{{ $prev.a.n || 5 }}", "there is no operator ||; write (or a b)", 14),
        ("{{ !$prev.a.n }}", "there is no operator !; write (not a)", 3),
        ("{{ $prev.a.n ? 1 : 2 }}", "there is no operator ?; write (ternary condition a b)", 13),
        ("{{ 3 - 2 }}", "there is no operator -; write (sub a b)", 5),
        ("{{ add(1, 2) }}", "arguments stand one behind the other, without commas", 8),
        ("{{ $json.name }}", "there is no object $json; did you mean $prev.args.<name>?", 3),
        ("{{ steps.a.out }}", "there is no function steps; did you mean $prev.<ref>.<field>?", 3),
        ("{{ $env.KEY }}", "there is no object $env; did you mean $kv.<key>?", 3),
        ("{{ now }}", "there is no function now; did you mean $now?", 3),
        ("{{ 1 | | 2 }}", "unexpected '|'", 7),
    ],
)
def test_who_knows_another_language_is_told_the_word_of_this_one(
    text: str, message: str, position: int
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(text)
    assert (caught.value.message, caught.value.position) == (message, position)
