"""What the audit shows of a thing: all of it but its secrets."""

from typing import Any

import pytest

from libs.common import codec
from services.store.read_models.audit import ACTIONS, REDACTED, redacted, row_of
from tests.contract import examples
from tests.contract.example_plays import USER

STREAM = "DEFINITIONS"


@pytest.mark.parametrize(
    "name",
    [
        "password", "pass", "basic_passwd", "passphrase", "secret", "clientSecret", "authToken", "bearerToken",
        "Authorization", "Set-Cookie", "apiKey", "api_key", "X-Api-Key", "credentials", "privateKey", "signature",
    ],
)  # fmt: skip
def test_texts_named_like_a_secret_are_not_shown(name: str) -> None:
    value = {"layers": [{"args": {name: "hush", "url": "shown"}}]}
    assert redacted(value) == {"layers": [{"args": {name: REDACTED, "url": "shown"}}]}


@pytest.mark.parametrize(
    "value",
    [
        {"token": "{{ $kv.token }}"},
        {"token": ""},
        {"secret": True},
        {"maxTokens": 700},
        {"passed": "yes"},
        {"author": "Ada"},
        ["token"],
        "token",
        None,
    ],
)
def test_what_is_no_secret_is_shown(value: Any) -> None:
    assert redacted(value) == value


def test_a_secret_is_found_at_any_depth() -> None:
    assert redacted({"token": {"token": ["x", {"token": "x"}]}}) == {
        "token": {"token": ["x", {"token": REDACTED}]}
    }


@pytest.mark.parametrize("event", [e for e in examples.all_examples().values() if type(e) in ACTIONS])
def test_every_deed_gives_a_record_of_its_company(event: Any) -> None:
    envelope = codec.decode_message(examples.envelope_of(event))
    row = row_of(envelope, stream=STREAM, sequence=7)
    assert row is not None
    assert (row.stream, row.sequence, row.company_id) == (STREAM, 7, examples.COMPANY)
    assert (row.action, row.user_id, row.at) == (ACTIONS[type(event)], USER, event.at)
    assert row.ip == event.origin.ip
    apart = {"auth": "session", "app.key": "appkey", "app.review": "review"}
    named = next((thing for words, thing in apart.items() if row.action.startswith(f"{words}.")), "")
    if row.action in apart:
        named = apart[row.action]
    assert row.entity_type == (named or row.action.split(".")[0])
    hidden = ("sealed", "A256GCM", "xsalsa20", '"password"', '"applied"')
    assert not any(words in (row.after or "") for words in hidden)


def test_what_nobody_did_gives_none() -> None:
    names = ("headrace.name.claimed.v1", "headrace.play.started.v1", "headrace.key.used.v1")
    for name in names:
        envelope = codec.decode_message(examples.envelope_of(examples.all_examples()[name]))
        assert row_of(envelope, stream=STREAM, sequence=1) is None
