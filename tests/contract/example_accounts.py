"""One realistic message of each type about sign-ins, personal access tokens and the keys of access tokens."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import grant, pat, token_key
from libs.common.messages.origin import Origin

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
COMPANY = "69b52a3d0c1f5e8a90000001"
USER = "69b52a3d0c1f5e8a90000002"
KEY = "69b52a3d0c1f5e8a9000000a"
GRANT = "69b52a3d0c1f5e8a9000000e"
_ORIGIN = Origin(ip="203.0.113.7", user_agent="curl/8.5.0", request_id="a1b2c3", key_id=KEY)


def _later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def grant_events() -> list[msgspec.Struct]:
    """Return one of each fact about grants, and about the tokens and keys beside them."""
    made = grant.Grant(
        id=GRANT,
        company_id=COMPANY,
        user_id=USER,
        digest="ab" * 32,
        generation=2,
        opened_at=AT,
        refreshed_at=_later(3600),
        expires_at=_later(7200),
    )
    facts: dict[str, Any] = {"at": _later(3600), "by": USER, "origin": _ORIGIN}
    token = pat.Pat(
        id=KEY,
        company_id=COMPANY,
        user_id=USER,
        name="ci",
        digest="cd" * 32,
        permissions=17,
        created_at=AT,
        valid_until=_later(86_400),
    )
    signing = token_key.TokenKey(
        id=KEY,
        x="f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        y="x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        sealed='{"alg":"A256GCM","kid":"k1","nonce":"bm9uY2U=","ct":"Y2lwaGVydGV4dA=="}',
        made_at=AT,
        signs_from=_later(86_400),
        verifies_until=_later(172_800),
    )
    return [
        grant.GrantOpened(**facts, grant=made),
        grant.GrantRefreshed(**facts, grant=made),
        grant.GrantEnded(**facts, grant=msgspec.structs.replace(made, ended=True), reason="reuse"),
        grant.AttemptUsed(at=AT, provider="acme"),
        grant.RefreshIssued(**facts, grant_id=GRANT, company_id=COMPANY),
        pat.PatIssued(**facts, pat=token),
        pat.PatRevoked(**facts, pat=msgspec.structs.replace(token, revoked=True)),
        token_key.TokenKeysChanged(**facts, keys=(signing,)),
    ]
