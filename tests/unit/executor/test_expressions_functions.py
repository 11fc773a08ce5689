"""Functions and objects of the language, and what they refuse."""

import re
from typing import Any

import pytest

from libs.expressions import NeedsValue
from tests.unit.executor.a_scope import PREV, error_of, of, value_of


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("add 1 2", 3),
        ("add 1 2 3.5", 6.5),
        ("add '41' 1", 42),
        ("add ' 1.5 ' 1", 2.5),
        ("add null 1", 1),
        ("add $prev.nobody.count 1", 1),
        ("add 0.5 0.5", 1),
        ("sub 1 3", -2),
        ("sub null 3", -3),
        ("mul 2 3 4", 24),
        ("mul '2' 0.5", 1),
        ("div 6 3", 2),
        ("div 1 4", 0.25),
        ("div 5.0 2.5", 2),
        ("mod 7 3", 1),
        ("mod -7 3", -1),
        ("mod 7.5 2", 1.5),
        ("round 2.5", 3),
        ("round -2.5", -3),
        ("round 2.675 2", 2.68),
        ("round 1e300 2", 1e300),
        ("div 9007199254740993 1", 9007199254740993),
    ],
)
def test_arithmetic_takes_numeric_strings_and_gives_whole_numbers_where_it_can(
    expression: str, value: Any
) -> None:
    made = of(expression)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("div 1 0", "division by zero"),
        ("div 1 0.0", "division by zero"),
        ("mod 1 '0'", "division by zero"),
        ("add 'x' 1", "add needs numbers, not a string that is no number"),
        ("mul null 2", "mul needs numbers, not null"),
        ("add true 1", "add needs numbers, not a boolean"),
        ("add 'nan' 1", "add needs numbers, not a string that is no number"),
        ("add '1_0' 1", "add needs numbers, not a string that is no number"),
        ("add '٣' 1", "add needs numbers, not a string that is no number"),
        ("add $prev.fetch 1", "add needs numbers, not an object"),
        ("mul 1e308 10", "the number is not finite"),
        ("mul 9223372036854775807 2", "the number is outside the 64-bit integers"),
        ("add 9223372036854775807 1", "the number is outside the 64-bit integers"),
        ("round 1.5 99", "round keeps 0 to 15 digits"),
        ("join 'a' ','", "join needs a list, not a string"),
        ("len 5", "len needs a string, a list or an object, not a number"),
        ("slice 'abc' -1", "slice counts from 0"),
        ("$q.jsonParse $prev.args.name", "the text is not valid JSON"),
        ("$q.jsonParse '{'", "the text is not valid JSON"),
        ("$date.format '2006' 'soon'", "a date is an RFC 3339 text or unix seconds, this is a string"),
        ("$date.format '2006' null", "a date is an RFC 3339 text or unix seconds, this is null"),
        ("$date.unix '2025-02-30'", "the date is not in the calendar"),
        ("$date.addDays 99999999", "the date is not in the calendar"),
        ("$rand.int 2 1", "the smallest number is above the largest"),
        ("$rand.string 5000", "a random string has 0 to 4096 characters"),
        ("$date.addDays 3000000", "the date is not in the calendar"),
        ("$date.unix 1e300", "the date is not in the calendar"),
        ("$date.format (printf '%300d' 1)", "a layout has at most 256 characters"),
        ("$rand.int 1.5 2", "$rand.int needs a whole number"),
        ("add $prev.args.huge $prev.args.huge 0.5", "the number is not finite"),
        ("slice 5 1", "slice needs a string or a list, not a number"),
        ("printf '%f' 'x'", "printf cannot show a string with %f"),
        ("printf '%c' 55296", "printf cannot show a number with %c"),
        ("printf '%t' 1", "printf cannot show a number with %t"),
        ("printf '%d' 'x'", "printf cannot show a string with %d"),
        ("printf '%d'", "printf has more verbs than values"),
        ("printf 'a' 1", "printf has more values than verbs"),
        ("printf '%'", "printf's layout ends inside a verb"),
        ("printf '%y' 1", "printf cannot show a number with %y"),
        ("printf '%9999d' 1", "printf's width and precision are at most 1000"),
    ],
)
def test_what_cannot_be_computed_is_an_error(expression: str, message: str) -> None:
    huge = {"name": "Ada", "huge": 2**1023 + 2**1022 + 2**1021 + 2**1020}
    assert error_of(f"{{{{ {expression} }}}}", prev={**PREV, "args": huge}).message == message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("upper 'straße'", "STRASSE"),
        ("lower 'ÄB'", "äb"),
        ("trim '  a b\n'", "a b"),
        ("replace 'a-b-c' '-' '+'", "a+b+c"),
        ("replace 'ab' '' '.'", ".a.b."),
        ("split 'a,b,,c' ','", ["a", "b", "", "c"]),
        ("split 'abc' ''", ["a", "b", "c"]),
        ("split '' ','", [""]),
        ("join (split 'a,b' ',') ' + '", "a + b"),
        ("join $prev.plain '-'", "10-[20,30]"),
        ("join null ','", ""),
        ("contains 'flow' 'lo'", True),
        ("contains $prev.plain 10", True),
        ("contains $prev.plain '10'", True),
        ("contains $prev.fetch 'items'", True),
        ("contains null ''", False),
        ("hasPrefix 'flow' 'fl'", True),
        ("hasSuffix 'flow' 'fl'", False),
        ("upper null", ""),
        ("upper 1.0", "1"),
        ("len 'äö'", 2),
        ("len $prev.plain", 2),
        ("len null", 0),
        ("index $prev.plain 1 0", 20),
        ("index $prev.fetch 'items' 1 'name'", "second"),
        ("index $prev.plain 9", None),
        ("index $prev.plain -1", None),
        ("slice 'abcdef' 2 4", "cd"),
        ("slice $prev.plain 1", [[20, 30]]),
        ("slice null 1", None),
        ("toJson $prev.plain", "[10,[20,30]]"),
        ("toJson 'a\"b'", '"a\\"b"'),
        ("print 1 'a' true", "1 a true"),
        (
            "printf '%c%c|%g|%G|%e|%+d|% d|%#x|%o|%b|%5s|%.2s' 65 128512 0.5 2 1500 5 5 255 8 5 'a' 'abc'",
            "A😀|0.5|2|1.500000e+03|+5| 5|0xff|10|101|    a|ab",
        ),
        ("$date.now.year", None),
        ("html '<a href=\"x\">'", "&lt;a href=&quot;x&quot;&gt;"),
        ("urlquery 'a b&c'", "a+b%26c"),
        ("default $prev.nobody 'x'", "x"),
        ("default '' 'x'", "x"),
        ("default 0 'x'", 0),
        ("default false 'x'", False),
        ("ternary (gt $prev.args.count 2) 'many' 'few'", "many"),
        ("ternary 'false' 1 2", 2),
    ],
)
def test_functions_take_the_value_first(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("eq 1 1.0", True),
        ("eq 200 '200'", True),
        ("eq false 'false'", True),
        ("eq null ''", True),
        ("eq 'a' 'b'", False),
        ("eq 'b' 'a' 'b'", True),
        ('eq ($q.jsonParse \'{"a":1,"b":[2]}\') ($q.jsonParse \'{"b":[2.0],"a":1}\')', True),
        ("eq ($q.jsonParse '[1]') '[1]'", True),
        ("ne 1 2", True),
        ("neq 1 '1'", False),
        ("gt 10 9", True),
        ("gt '10' '9'", True),
        ("gt '10' 'nine'", False),
        ("gt 'b' 'a'", True),
        ("ge 2 2", True),
        ("gte '2' 2.0", True),
        ("lt 1 2", True),
        ("le 3 2", False),
        ("lte 2 2", True),
        ("gt 9007199254740993 9007199254740992", True),
        ("lt '2025-01-31' '2025-02-01'", True),
        ("and 1 'x'", "x"),
        ("and 0 (div 1 0)", 0),
        ("or '' 'x'", "x"),
        ("or 1 (div 1 0)", 1),
        ("not 'false'", True),
        ("not $prev.plain", False),
        ("ternary true 1 (div 1 0)", 1),
        ("default 1 (div 1 0)", 1),
    ],
)
def test_comparison_works_across_types_and_logic_stops_early(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a,b' | split ','", ["a", "b"]),
        ("'a' | replace 'a' 'b' | upper", "B"),
        ("$prev.nobody.x | default 'none'", "none"),
        ("$prev.args.count | printf '%03d'", "003"),
        ("1 | index $prev.plain 1", 30),
        ("$prev.args.count | gt 5", True),
        ("$date.addDays 1 | $date.format '2006-01-02'", "2025-02-01"),
        ("3 | add 4 | mul 2", 14),
        ("upper 'a' | len", 1),
        ("('x' | upper) | lower", "x"),
    ],
)
def test_a_pipe_puts_the_value_first_and_in_go_functions_last(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("2006-01-02T15:04:05Z07:00", "2025-01-31T09:05:07Z"),
        ("Mon, 02 Jan 2006 15:04:05 MST", "Fri, 31 Jan 2025 09:05:07 UTC"),
        ("Monday, January 2, 2006", "Friday, January 31, 2025"),
        ("3:4:5 PM", "9:5:7 AM"),
        ("03:04 pm", "09:05 am"),
        ("1/2/06", "1/31/25"),
        ("_2 Jan|__2|002", "31 Jan| 31|031"),
        ("_2006", "_2025"),
        ("15h04.000", "09h05.120"),
        ("05.999 05.000000", "07.12 07.120000"),
        ("-0700 -07:00 -07 -070000 -07:00:00", "+0000 +00:00 +00 +000000 +00:00:00"),
        ("Z0700 Z07 Z070000 Z07:00:00", "Z Z Z Z"),
        ("Month Janet", "Month Janet"),
        ("year 2006!", "year 2025!"),
        ("", ""),
    ],
)
def test_dates_are_written_in_go_layouts(layout: str, text: str) -> None:
    assert of(f"$date.format '{layout}'") == text


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$date.now", "2025-01-31T09:05:07Z"),
        ("$now", "2025-01-31T09:05:07Z"),
        ("$date.unix", 1738314307),
        ("$date.unix '1970-01-02'", 86400),
        ("$date.unix '1969-12-31T23:59:59.5Z'", -1),
        ("$date.addDays 7", "2025-02-07T09:05:07Z"),
        ("$date.addDays -0.5", "2025-01-30T21:05:07Z"),
        ("$date.addDays 1 '2024-02-28'", "2024-02-29T00:00:00Z"),
        ("$date.format '2006-01-02 15:04' '2025-06-01T01:30:00+02:00'", "2025-05-31 23:30"),
        ("$date.format '2006' 0", "1970"),
        ("$date.format '3PM' '2025-01-01T00:00:00Z'", "12AM"),
        ("$date.format '2006-01-02' ($date.addDays 1)", "2025-02-01"),
    ],
)
def test_dates_are_utc_and_chain(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$q.urlencode 'a b&c/ü~'", "a+b%26c%2F%C3%BC~"),
        ("$q.base64 'hé'", "aMOp"),
        ("$q.jsonStringify $prev.plain", "[10,[20,30]]"),
        ('($q.jsonParse \'{"a":[1,{"b":2}]}\').a[1].b', 2),
        ("$q.jsonParse $prev.plain", [10, [20, 30]]),
        ("$flowId", "flow1"),
        ("$playId", "play1"),
        ("$companyId", "acme"),
    ],
)
def test_objects(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        ("$rand.uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("$rand.cuid", r"[a-z][a-z0-9]{23}"),
        ("$rand.string 12", r"[A-Za-z0-9]{12}"),
        ("$rand.int -3 3", r"-?[0-3]"),
        ("$rand.string 0", r""),
        ("$rand.string 300", r"[A-Za-z0-9]{300}"),
    ],
)
def test_random_values_have_their_form_and_follow_the_seed(expression: str, pattern: str) -> None:
    drawn = str(of(expression))
    again = str(of(expression))
    assert re.fullmatch(pattern, drawn)
    assert drawn == again


def test_random_values_differ_by_seed_by_place_and_by_text() -> None:
    value = ["{{ $rand.uuid }}", "{{ $rand.uuid }}", "{{ $rand.uuid }} {{ $rand.uuid }}"]
    drawn = " ".join(value_of(value)) + " " + " ".join(value_of(value, seed="other"))
    assert len(set(drawn.split())) == 8


def test_random_values_are_the_same_in_every_process() -> None:
    assert of("$rand.uuid") == "064ae7ab-c421-457f-bf78-c9df59dba4c8"


def test_a_random_integer_reaches_both_ends() -> None:
    assert {of("$rand.int 1 3", seed=str(seed)) for seed in range(60)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("$kv.get 'k'", ("get", None, None, "k")),
        ("$kv.k", ("get", None, None, "k")),
        ("$kv['a b']", ("get", None, None, "a b")),
        ("$kv.getGlobal 'k'", ("getGlobal", None, None, "k")),
        ("$kv.getScoped 'flow' $flowId 'k'", ("getScoped", "flow", "flow1", "k")),
        ("'k' | $kv.get", ("get", None, None, "k")),
    ],
)
def test_a_kv_entry_is_asked_for_and_then_read(expression: str, key: tuple[Any, ...]) -> None:
    with pytest.raises(NeedsValue) as needs:
        of(expression)
    assert (needs.value.key, of(expression, kv={key: 5})) == (key, 5)


def test_fields_below_a_kv_entry_are_read() -> None:
    assert of("$kv.config.url[0]", kv={("get", None, None, "config"): {"url": ["x"]}}) == "x"


def test_a_kv_entry_that_does_not_exist_is_null() -> None:
    assert of("add $kv.counter 1", kv={("get", None, None, "counter"): None}) == 1


def test_a_branch_that_is_not_taken_asks_for_nothing() -> None:
    assert of("ternary true 1 $kv.k") == 1
