"""Secrets are found as they are and encoded, and no module shows an arg that it does not say it shows (ADR 38)."""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.masking import MASK, masked, masked_error, masked_value, secrets_in
from services.executor.modules.args import encoded_names
from services.executor.modules.contract import Module, ModuleFailed
from tests.fixtures.modules import MODULES, evaluated

MARKER = "§"
SECRETS = st.text(st.characters(codec="utf-8"), min_size=6, max_size=30)


@given(SECRETS, st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_is_found_wherever_it_stands_in_base64(secret: str, before: bytes, after: bytes) -> None:
    content = before + secret.encode() + after
    whole = secret.encode()[1:-1]
    for encode in (b64encode, urlsafe_b64encode):
        text = masked(encode(content).decode(), {secret})
        assert MASK in text
        assert encode(whole).decode().rstrip("=")[4:-4] not in text or len(whole) < 9


@pytest.mark.parametrize(
    "encode",
    [str, quote, quote_plus, lambda s: s.encode().hex(), lambda s: json.dumps(s, ensure_ascii=False)],
)
def test_a_secret_is_found_in_the_encodings_of_texts(encode: Any) -> None:
    secret = 'p&ss "wörd"/1'
    text = masked(f"<{encode(secret)}>", {secret})
    assert MASK in text
    assert encode(secret) not in text


def test_a_value_is_masked_in_names_texts_and_numbers() -> None:
    value = {"a secret": ["my secret!", 4711, 4711.5, True], "n": {"x": "none"}}
    assert masked_value(value, {"secret", "4711"}) == {
        "a ***": ["my ***!", MASK, 4711.5, True],
        "n": {"x": "none"},
    }


def test_a_value_without_secrets_is_the_same_object() -> None:
    value = {"a": [1, "x"]}
    assert masked_value(value, {"secret"}) is value


def test_the_longest_secret_goes_first() -> None:
    assert masked("secret-and-more", {"secret", "secret-and-more"}) == MASK


def test_short_texts_are_not_masked_and_parts_of_objects_are() -> None:
    assert set(secrets_in({"a": "abc", "b": ["long enough", 12345, True, None]})) == {"long enough", "12345"}


def test_errors_lose_what_they_quote() -> None:
    assert masked_error("hash: Invalid enum value 'ABC', not \"x\" but `str`", {"none"}).count(MASK) == 3


def marked(value: Any) -> Any:
    """Return a value with the marker in place of every text."""
    match value:
        case str():
            return MARKER
        case dict():
            return {name: marked(part) for name, part in value.items()}
        case list():
            return [marked(part) for part in value]
        case _:
            return value


OF_LOOPS = {"iterator", "aggregator"}


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES.all() if module.pure and module.app_id not in OF_LOOPS],
    ids=lambda module: str(module.app_id),
)
def test_a_pure_module_shows_no_arg_that_it_does_not_name(module: Module[Any]) -> None:
    example = module.args_example
    unnamed = encoded_names(module.Args) - module.shown_args - module.veiled_args
    # A router shows its labels, which it names by itself.
    for name in unnamed - {"routes"}:
        for value in (marked(example.get(name)), MARKER, [MARKER], {MARKER: MARKER}):
            try:
                out = evaluated(module.app_id, {**example, name: value}, args={})
            except ModuleFailed:
                continue
            assert MARKER not in json.dumps(out, default=str, ensure_ascii=False), name


def test_a_router_names_its_labels() -> None:
    router = MODULES.get("router")
    assert router is not None
    routes = [{"condition": "secret", "label": "a"}, {"condition": "true", "label": "b"}, "odd"]
    assert router.shown({"routes": routes}) == {"routes": ["a", "b", "odd"]}
    assert router.shown({"routes": "{{ $kv.all }}"}) == {"routes": "{{ $kv.all }}"}
