"""Grants, the keys of access tokens and accounts: the rules (spec flow-like section 11.3)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.access import User
from libs.common.messages.grant import EndGrant, Grant, GrantEnded, GrantRefreshed, Refresh, SignInWith
from libs.common.messages.pat import IssuePat, Pat, RevokePat
from libs.common.messages.token_key import TokenKey
from services.store.domain import access, account, grant, pat, token_key

AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
USER = User(
    id="d" * 24,
    company_id="c" * 24,
    email="ada@x.test",
    name="Ada",
    role="admin",
    created_at=AT,
    updated_at=AT,
)
GRANT = Grant(
    id="e" * 24, company_id="c" * 24, user_id="d" * 24, digest=OLD, generation=0, opened_at=AT, refreshed_at=AT,
    expires_at=AT + DAY,
)  # fmt: skip


def refresh(used: str) -> Refresh:
    return Refresh(at=AT, digest=NEW, refresh_ttl_s=3_600, access_ttl_s=60, used=used)


class TestRefresh:
    def test_the_token_that_holds_gives_way_to_the_next(self) -> None:
        event = grant.refreshed(refresh(OLD), GRANT)
        assert isinstance(event, GrantRefreshed)
        assert (event.grant.digest, event.grant.generation) == (NEW, 1)
        assert event.grant.expires_at == AT + timedelta(hours=1)
        assert not event.grant.ended

    def test_any_other_ends_the_grant(self) -> None:
        event = grant.refreshed(refresh(OTHER), GRANT)
        assert isinstance(event, GrantEnded)
        assert (event.grant.ended, event.reason) == (True, "reuse")

    @pytest.mark.parametrize(
        ("changed", "user", "holds"),
        [
            ({}, {}, True),
            ({"ended": True}, {}, False),
            ({"expires_at": AT}, {}, False),
            ({}, {"sessions_after": AT + DAY}, False),
            ({}, {"sessions_after": AT}, True),
        ],
    )
    def test_what_a_grant_needs_to_hold(
        self, changed: dict[str, Any], user: dict[str, Any], holds: bool
    ) -> None:
        one, somebody = msgspec.structs.replace(GRANT, **changed), msgspec.structs.replace(USER, **user)
        assert grant.holds(one, somebody, at=AT) is holds

    def test_nobody_ends_anothers(self) -> None:
        with pytest.raises(NotFound):
            grant.ended(EndGrant(at=AT, grant_id=GRANT.id, by="f" * 24), GRANT)

    def test_the_end_comes_once(self) -> None:
        event = grant.ended(EndGrant(at=AT, grant_id=GRANT.id, by=USER.id), GRANT)
        assert event is not None
        assert grant.ended(EndGrant(at=AT, grant_id=GRANT.id, by=USER.id), event.grant) is None


def made(id: str = "1", at: datetime = AT) -> TokenKey:
    return TokenKey(id=id, x="", y="", sealed="", made_at=at, signs_from=at)


class TestTokenKeys:
    def test_the_first_key_signs_at_once(self) -> None:
        keys = token_key.added((), made(), at=AT, at_once=False).keys
        assert token_key.signer(keys, at=AT) == keys[0]
        assert not token_key.is_due(keys, at=AT)

    def test_the_next_is_published_before_it_signs_and_the_last_verifies_after(self) -> None:
        keys = token_key.added((), made(), at=AT, at_once=False).keys
        due = AT + timedelta(seconds=token_key.SIGNS_S - token_key.AHEAD_S)
        assert token_key.is_due(keys, at=due)
        keys = token_key.added(keys, made("2", due), at=due, at_once=False).keys
        assert [key.id for key in keys] == ["1", "2"]
        # Until the new one signs the old one does, and nothing is due meanwhile.
        for moment, signs in ((due, "1"), (due + 0.9 * DAY, "1"), (due + DAY, "2"), (due + 30 * DAY, "2")):
            signer = token_key.signer(keys, at=moment)
            assert signer is not None
            assert signer.id == signs
            assert not token_key.is_due(keys, at=moment)
        over = keys[0].verifies_until
        assert over is not None
        assert over - (due + DAY) == timedelta(seconds=token_key.OVERLAP_S)
        assert timedelta(seconds=grant.ACCESS_TTL_S_MAX) < over - (due + DAY)

    def test_a_key_that_cannot_be_opened_is_replaced_at_once_and_verifies_on(self) -> None:
        keys = token_key.added((), made(), at=AT, at_once=False).keys
        keys = token_key.added(keys, made("2"), at=AT + DAY, at_once=True).keys
        signer = token_key.signer(keys, at=AT + DAY)
        assert signer is not None
        assert signer.id == "2"
        assert keys[0].verifies_until == AT + DAY + timedelta(seconds=token_key.OVERLAP_S)

    def test_the_ring_never_grows_without_end(self) -> None:
        keys: tuple[TokenKey, ...] = ()
        for day in range(40):
            keys = token_key.added(keys, made(str(day)), at=AT + day * DAY, at_once=True).keys
        assert len(keys) <= token_key.KEYS_MAX


def vouched(**fields: Any) -> SignInWith:
    given: dict[str, Any] = {
        "at": AT, "digest": NEW, "refresh_ttl_s": 60, "access_ttl_s": 60, "id": "x", "grant_id": "e" * 24,
        "provider": "acme", "subject": OLD, "email": "ada@x.test", "email_verified": True,
    }  # fmt: skip
    return SignInWith(**(given | fields))


class TestLinking:
    @pytest.mark.parametrize(
        ("user", "command", "may"),
        [
            ({}, {}, False),
            ({"email_verified": True}, {}, True),
            ({"email_verified": True}, {"email_verified": False}, False),
            ({"company_id": access.FIRST_COMPANY_ID}, {}, True),
            ({"company_id": access.FIRST_COMPANY_ID}, {"email_verified": False}, False),
        ],
    )
    def test_both_sides_must_have_seen_the_mailbox(
        self, user: dict[str, Any], command: dict[str, Any], may: bool
    ) -> None:
        assert account.may_be_linked(msgspec.structs.replace(USER, **user), vouched(**command)) is may


class TestUsernames:
    @pytest.mark.parametrize("text", ["ada", "Ada.L-1_x", "4711", "a" * 40])
    def test_these_are(self, text: str) -> None:
        assert account.username_of(text) == text

    @pytest.mark.parametrize("text", ["", "ab", "a" * 41, "a b", ".ada", "ada@x", "ada\n", "ädä", "a/b"])
    def test_these_are_not(self, text: str) -> None:
        with pytest.raises(Invalid, match="username"):
            account.username_of(text)


def issue(**fields: Any) -> IssuePat:
    given: dict[str, Any] = {
        "id": "x", "at": AT, "company_id": "c" * 24, "by": "d" * 24, "pat_id": "f" * 24, "name": "ci", "digest": OLD,
    }  # fmt: skip
    return IssuePat(**(given | fields))


class TestPats:
    @pytest.mark.parametrize(
        "fields",
        [
            {"permissions": 0},
            {"permissions": 64},
            {"permissions": -1},
            {"name": " "},
            {"digest": "x"},
            {"valid_until": AT},
        ],
    )
    def test_what_does_not_fit_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(Invalid):
            pat.issued(issue(**fields), None)

    def test_an_id_is_given_once(self) -> None:
        with pytest.raises(Refused):
            pat.issued(issue(), pat.issued(issue(), None).pat)

    @pytest.mark.parametrize("other", [{"by": "0" * 24}, {"company_id": "0" * 24}])
    def test_nobody_revokes_anothers(self, other: dict[str, str]) -> None:
        made: Pat = pat.issued(issue(), None).pat
        given: dict[str, Any] = {
            "id": "y",
            "at": AT,
            "company_id": "c" * 24,
            "by": "d" * 24,
            "pat_id": made.id,
        }
        with pytest.raises(NotFound):
            pat.revoked(RevokePat(**(given | other)), made)
        event = pat.revoked(RevokePat(**given), made)
        assert event is not None
        assert pat.revoked(RevokePat(**given), event.pat) is None
