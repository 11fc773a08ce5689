"""Signatures of webhooks (authMode `hmac`), on values that others computed.

The GitHub and Standard Webhooks values are those that the schemes' own documents print; the others were made with
`openssl dgst -sha256 -hmac`.
"""

import pytest
from multidict import CIMultiDict

from libs.common.errors import Unauthorized
from libs.common.messages.channel import HmacStyle
from services.gateway.channels.signatures import SIGNATURES_MAX, verify

GITHUB_SECRET, GITHUB_BODY = "It's a Secret to Everybody", b"Hello, World!"
GITHUB = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
STRIPE_SECRET, STRIPE_BODY, STRIPE_AT = "whsec_test_secret", b'{"id":"evt_1","object":"event"}', 1_492_774_577
STRIPE_HEX = "654b43d3508ecadb3f8cefc4bc7d3d2bdc5ba9e03bf2c89b2d0657a8e24e4543"
STRIPE = {"Stripe-Signature": f"t={STRIPE_AT},v1={STRIPE_HEX},v0=ignored"}
STANDARD_SECRET, STANDARD_BODY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
STANDARD_AT = 1_614_265_330
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(STANDARD_AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def check(
    style: HmacStyle,
    headers: dict[str, str],
    body: bytes,
    secret: str,
    *,
    now_s: float = 0,
    tolerance_s: int = 300,
) -> str:
    return verify(style, CIMultiDict(headers), body, secret=secret, now_s=now_s, tolerance_s=tolerance_s)


def test_a_signature_of_github_holds() -> None:
    assert check("github", GITHUB, GITHUB_BODY, GITHUB_SECRET) == ""


def test_a_signature_of_stripe_holds_and_names_the_delivery() -> None:
    delivery = check("stripe", STRIPE, STRIPE_BODY, STRIPE_SECRET, now_s=STRIPE_AT + 299)
    assert delivery == f"{STRIPE_AT}.{STRIPE_HEX}"


def test_a_signature_of_standard_webhooks_holds_and_names_the_delivery() -> None:
    delivery = check("standard-webhooks", STANDARD, STANDARD_BODY, STANDARD_SECRET, now_s=STANDARD_AT - 299)
    assert delivery == STANDARD["webhook-id"]


def test_a_secret_of_standard_webhooks_may_come_without_its_prefix() -> None:
    secret = STANDARD_SECRET.removeprefix("whsec_")
    assert check("standard-webhooks", STANDARD, STANDARD_BODY, secret, now_s=STANDARD_AT)


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed() -> None:
    stripe = {"Stripe-Signature": f"t={STRIPE_AT},v1={'0' * 64},v1={STRIPE_HEX}"}
    standard = STANDARD | {"webhook-signature": "v1,AAAA " + STANDARD["webhook-signature"]}
    assert check("stripe", stripe, STRIPE_BODY, STRIPE_SECRET, now_s=STRIPE_AT)
    assert check("standard-webhooks", standard, STANDARD_BODY, STANDARD_SECRET, now_s=STANDARD_AT)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_signature_of_another_time_does_not_hold(seconds: int) -> None:
    with pytest.raises(Unauthorized, match="time"):
        check("stripe", STRIPE, STRIPE_BODY, STRIPE_SECRET, now_s=STRIPE_AT + seconds)
    with pytest.raises(Unauthorized, match="time"):
        check("standard-webhooks", STANDARD, STANDARD_BODY, STANDARD_SECRET, now_s=STANDARD_AT + seconds)


@pytest.mark.parametrize(
    ("style", "headers", "body", "secret", "at"),
    [
        ("github", GITHUB, GITHUB_BODY, GITHUB_SECRET, 0),
        ("stripe", STRIPE, STRIPE_BODY, STRIPE_SECRET, STRIPE_AT),
        ("standard-webhooks", STANDARD, STANDARD_BODY, STANDARD_SECRET, STANDARD_AT),
    ],
)
def test_what_was_changed_or_left_out_does_not_hold(
    style: HmacStyle, headers: dict[str, str], body: bytes, secret: str, at: int
) -> None:
    with pytest.raises(Unauthorized):
        check(style, headers, body + b" ", secret, now_s=at)
    with pytest.raises(Unauthorized):
        check(style, headers, body, "whsec_AAAA", now_s=at)
    for name in headers:
        with pytest.raises(Unauthorized, match=f"(?i){name}"):
            check(
                style, {key: value for key, value in headers.items() if key != name}, body, secret, now_s=at
            )


@pytest.mark.parametrize(
    ("style", "headers"),
    [
        ("github", {"X-Hub-Signature-256": "sha1=" + "0" * 40}),
        ("github", {"X-Hub-Signature-256": "\udcff"}),
        ("stripe", {"Stripe-Signature": "v1=x"}),
        ("stripe", {"Stripe-Signature": "t=-1,v1=x"}),
        ("stripe", {"Stripe-Signature": "t=" + "9" * 400 + ",v1=x"}),
        ("stripe", {"Stripe-Signature": "t=٣,v1=x"}),
        ("stripe", {"Stripe-Signature": f"t={STRIPE_AT}" + ",v1=x" * SIGNATURES_MAX + f",v1={STRIPE_HEX}"}),
        ("stripe", {"Stripe-Signature": "," * 5_000}),
        ("standard-webhooks", STANDARD | {"webhook-timestamp": "1e9"}),
        ("standard-webhooks", STANDARD | {"webhook-id": "\udcff"}),
        (
            "standard-webhooks",
            STANDARD | {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        ),
        ("standard-webhooks", STANDARD | {"webhook-signature": "v1"}),
    ],
)
def test_what_is_no_signature_does_not_hold(style: HmacStyle, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        check(style, headers, STRIPE_BODY, STRIPE_SECRET, now_s=STRIPE_AT)
