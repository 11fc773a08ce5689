"""Bodies are checked, and refused with a sentence that names the field."""

from typing import Any

import msgspec
import pytest

from libs.common.errors import Invalid
from libs.common.messages.flow import FlowFields, LayerFields
from services.gateway.bodies import NESTING_MAX, parse
from services.gateway.routes.auth import Credentials
from services.gateway.routes.plays import ApproveFields
from services.gateway.routes.run import RunFields

FLOW = msgspec.json.Decoder(FlowFields)
LAYER = msgspec.json.Decoder(LayerFields)
RUN = msgspec.json.Decoder(RunFields)
LOGIN = msgspec.json.Decoder(Credentials)
APPROVE = msgspec.json.Decoder(ApproveFields)


def _refusal(data: bytes, decoder: msgspec.json.Decoder[Any]) -> str:
    with pytest.raises(Invalid) as refused:
        parse(data, decoder)
    return refused.value.message


@pytest.mark.parametrize(
    ("data", "decoder", "message"),
    [
        (b'{"name":1}', FLOW, "name: expected a string, got an integer"),
        (b'{"groupId":1}', FLOW, "groupId: expected a string or null, got an integer"),
        (b'{"kvInherit":[]}', FLOW, "kvInherit: expected true or false or a string, got an array"),
        (b'{"index":1.5}', LAYER, "index: expected an integer, got a number"),
        (
            b'{"componentConfigIds":{"ai":1}}',
            LAYER,
            "componentConfigIds[...]: expected a string, got an integer",
        ),
        (b'{"args":[]}', RUN, "args: expected an object, got an array"),
        (b'{"force":"yes"}', RUN, "force: expected true or false, got a string"),
        (b'{"email":"a"}', LOGIN, "password is required"),
        (b"{}", LOGIN, "email is required"),
        (b'{"email":null,"password":null}', LOGIN, "email is required"),
        (b'{"ref":null,"index":1.5}', LAYER, "index: expected an integer, got a number"),
        (b'{"layerId":"a","decision":"maybe"}', APPROVE, "decision: Invalid enum value 'maybe'"),
        (b"[]", FLOW, "the body: expected an object, got an array"),
        (b'"text"', FLOW, "the body: expected an object, got a string"),
        (b"null", FLOW, "the body: expected an object, got null"),
    ],
)
def test_the_field_that_does_not_fit_is_named(
    data: bytes, decoder: msgspec.json.Decoder[Any], message: str
) -> None:
    assert _refusal(data, decoder) == message


@pytest.mark.parametrize(
    "data", [b"{", b"{'a':1}", b'{"name":"\xff"}', b'{"name":"\\ud800"}', b"\xef\xbb\xbf{}", b"{}{}"]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    assert "JSON" in _refusal(data, FLOW) or "UTF-8" in _refusal(data, FLOW)


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert parse(b'{"name":"a","name":"b"}', FLOW).name == "b"


def test_unknown_fields_are_ignored() -> None:
    assert parse(b'{"name":"a","colour":"red"}', FLOW).name == "a"


def test_nesting_has_a_limit() -> None:
    levels = NESTING_MAX - 2
    deepest = b'{"args":{"a":' + b"[" * levels + b"]" * levels + b"}}"
    assert "a" in parse(deepest, RUN).args
    assert "nested" in _refusal(b'{"args":{"a":' + b"[" * (levels + 1) + b"]" * (levels + 1) + b"}}", RUN)


def test_nesting_without_end_is_refused_and_nothing_breaks() -> None:
    assert "nested" in _refusal(b'{"args":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", RUN)


def test_many_shallow_objects_are_fine() -> None:
    data = b'{"args":{"a":[' + b",".join([b"{}"] * 1_000) + b"]}}"
    assert len(parse(data, RUN).args["a"]) == 1_000


@pytest.mark.parametrize(
    "number", [b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 400, b"1e999"]
)
def test_numbers_that_nothing_holds_are_refused(number: bytes) -> None:
    assert _refusal(b'{"args":{"n":' + number + b"}}", RUN)


@pytest.mark.parametrize("number", [18446744073709551615, -9223372036854775808])
def test_numbers_of_64_bits_are_fine(number: int) -> None:
    assert parse(b'{"args":{"n":%d}}' % number, RUN).args["n"] == number


@pytest.mark.parametrize(
    "data", [b'{"name":"a\\u0000"}', b'{"args":{"a\\u0000":1}}', b'{"args":{"a":["\\u0000"]}}']
)
def test_the_character_nul_is_refused(data: bytes) -> None:
    assert "U+0000" in _refusal(data, RUN)


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse(b'{"args":{"a":"\\\\u0000"}}', RUN).args["a"] == "\\u0000"


@pytest.mark.parametrize(
    ("data", "decoder"),
    [
        (b'{"ref":null,"index":null,"needsApproval":null,"appId":null,"name":null}', LAYER),
        (b'{"enabled":null,"category":null,"kvInherit":null,"kvConflict":null,"name":null}', FLOW),
        (b'{"args":null,"idempotencyKey":null,"force":null}', RUN),
    ],
)
def test_null_for_what_is_never_null_is_as_if_it_were_left_out(
    data: bytes, decoder: msgspec.json.Decoder[Any]
) -> None:
    assert parse(data, decoder) == parse(b"{}", decoder)


def test_null_for_what_may_be_null_is_a_value() -> None:
    assert parse(b'{"groupId":null,"enabled":null}', FLOW) == FlowFields(group_id=None)


def test_null_inside_of_a_value_stays() -> None:
    assert parse(b'{"force":null,"args":{"a":null}}', RUN).args == {"a": None}
