"""The store of the second surface, with a review before an app is listed (spec flow-like 5.3, 5.4 and 11.3)."""

import math
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.door import Door, refusal, registered
from tests.e2e.team import APPS, colleague, made, shown_as
from tests.fixtures.system import RunningSystem, running_system

STORE = "/api/v1/store"
PUBLICATIONS = "/api/v1/admin/publication"
DOUBLE = {
    "appId": "var",
    "ref": "sum",
    "index": 0,
    "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}},
}


@pytest.fixture(scope="module")
def reviewed_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """A system whose hub file asks for a review before an app is listed."""
    path: Path = tmp_path_factory.mktemp("hub") / "hub.yaml"
    path.write_text("store_review: true\n")
    with running_system(environ={"HEADRACE_HUB_FILE": str(path)}) as system:
        yield system


class Market(NamedTuple):
    """Who makes apps, who installs them, and who runs the installation."""

    maker: Door
    buyer: Door
    admin: Door
    system: RunningSystem

    async def asked(self, app_id: str, visibility: str = "Public") -> Any:
        """Ask for an app to be listed and return the publication."""
        answer = await self.maker.call("PATCH", f"{APPS}/{app_id}/visibility", {"visibility": visibility})
        assert answer.status == 202, answer
        return answer.json

    async def decided(self, publication_id: str, status: str, message: str = "") -> Any:
        """Decide on a publication."""
        wish = {"status": status, "message": message}
        return await self.admin.put(f"{PUBLICATIONS}/{publication_id}", wish)

    async def listed(self, name: str, visibility: str = "Public", **fields: Any) -> Any:
        """Make an app that is in the store, and return it as its page shows it."""
        app = await made(self.maker, name, **fields)
        await shown_as(self.maker, app["id"], "Prototype")
        await self.decided((await self.asked(app["id"], visibility))["id"], "ACCEPTED")
        return await self.buyer.get(f"{STORE}/{app['id']}")

    async def found(self, query: str) -> list[str]:
        """Return the names that a search finds, in its order."""
        return [meta["name"] for _, meta in await self.buyer.get(f"{STORE}?{query}")]


@pytest.fixture(scope="module")
def accounts() -> dict[str, Any]:
    """What the sign-ins of this module answered: a password takes its time to check."""
    return {}


@pytest.fixture
async def market(reviewed_system: RunningSystem, accounts: dict[str, Any]) -> AsyncIterator[Market]:
    """The people of a store."""
    url = reviewed_system.base_url
    async with Door(url) as maker, Door(url) as buyer, Door(url) as admin:
        if not accounts:
            signed = {"email": reviewed_system.email, "password": reviewed_system.password}
            accounts["admin"] = await admin.post("/api/v1/auth/login", signed)
            accounts["maker"] = await maker.register(name="Mia")
            accounts["buyer"] = await buyer.register(name="Ben")
        for door, name in ((maker, "maker"), (buyer, "buyer"), (admin, "admin")):
            door.take(accounts[name])
        yield Market(maker, buyer, admin, reviewed_system)


def word() -> str:
    """Return a word that no other test searches for."""
    return f"w{secrets.token_hex(5)}"


class TestPublication:
    async def test_override_5_a_wish_waits_until_an_admin_accepts_it(self, market: Market) -> None:
        app = await made(market.maker, "Waiting")
        await shown_as(market.maker, app["id"], "Prototype")
        asked = await market.asked(app["id"])
        assert (asked["status"], asked["visibility"], asked["name"]) == ("PENDING", "Public", "Waiting")
        assert (await market.maker.get(f"{APPS}/{app['id']}"))["visibility"] == "Prototype"
        assert await market.buyer.refused("GET", f"{STORE}/{app['id']}") == (404, "NOT_FOUND")
        waiting = await market.admin.get(f"{PUBLICATIONS}?status=PENDING")
        assert asked in waiting
        decided = await market.decided(asked["id"], "ACCEPTED", "well done")
        assert (decided["status"], decided["message"]) == ("ACCEPTED", "well done")
        assert decided["decided_by"] == market.admin.account["user"]["id"]
        assert (await market.maker.get(f"{APPS}/{app['id']}"))["visibility"] == "Public"
        assert (await market.buyer.get(f"{STORE}/{app['id']}"))["name"] == "Waiting"
        assert decided in await market.admin.get(f"{PUBLICATIONS}?status=ACCEPTED&limit=100")

    async def test_override_5_what_is_rejected_stays_unlisted_and_decided(self, market: Market) -> None:
        app = await made(market.maker)
        await shown_as(market.maker, app["id"], "Prototype")
        asked = await market.asked(app["id"])
        assert (await market.decided(asked["id"], "REJECTED", "no boards"))["status"] == "REJECTED"
        assert await market.buyer.refused("GET", f"{STORE}/{app['id']}") == (404, "NOT_FOUND")
        again = (f"{PUBLICATIONS}/{asked['id']}", {"status": "ACCEPTED"})
        assert await market.admin.refused("PUT", *again) == (400, "BAD_REQUEST")
        await market.decided((await market.asked(app["id"]))["id"], "ACCEPTED")
        assert (await market.buyer.get(f"{STORE}/{app['id']}"))["id"] == app["id"]

    async def test_override_5_what_is_on_hold_can_still_be_accepted(self, market: Market) -> None:
        app = await made(market.maker)
        await shown_as(market.maker, app["id"], "Prototype")
        asked = await market.asked(app["id"], "PublicRequestAccess")
        assert (await market.decided(asked["id"], "ON_HOLD", "later"))["status"] == "ON_HOLD"
        assert await market.buyer.refused("GET", f"{STORE}/{app['id']}") == (404, "NOT_FOUND")
        await market.decided(asked["id"], "ACCEPTED")
        assert (await market.buyer.get(f"{STORE}/{app['id']}"))["access"] == "request"

    async def test_override_5_only_who_runs_the_installation_decides(self, market: Market) -> None:
        app = await made(market.maker)
        await shown_as(market.maker, app["id"], "Prototype")
        asked = await market.asked(app["id"])
        for door in (market.maker, market.buyer):
            assert await door.refused("GET", PUBLICATIONS) == (403, "FORBIDDEN")
            wish = (f"{PUBLICATIONS}/{asked['id']}", {"status": "ACCEPTED"})
            assert await door.refused("PUT", *wish) == (403, "FORBIDDEN")
        for status in ("PENDING", "DONE", None):
            refused = await market.admin.refused("PUT", f"{PUBLICATIONS}/{asked['id']}", {"status": status})
            assert refused == (400, "BAD_REQUEST"), status
        unknown = (f"{PUBLICATIONS}/{'0' * 24}", {"status": "ACCEPTED"})
        assert await market.admin.refused("PUT", *unknown) == (404, "NOT_FOUND")


class TestBrowse:
    async def test_11_3_words_category_tag_author_and_price_narrow_it_down(self, market: Market) -> None:
        name = word()
        await market.listed(
            f"{name} one", description="counts 100%", tags=["billing"], primary_category="Finance"
        )
        await market.listed(f"{name} two", secondary_category="Music", price=500)
        assert set(await market.found(f"query={name.upper()}")) == {f"{name} one", f"{name} two"}
        for more, expected in (
            ("category=Finance", "one"), ("category=Music", "two"), ("tag=billing", "one"), ("min_price=1", "two"),
            ("max_price=499", "one"), ("min_price=500&max_price=500", "two"),
        ):  # fmt: skip
            assert await market.found(f"q={name}&{more}") == [f"{name} {expected}"], more
        assert await market.found("query=counts+100%25") == [f"{name} one"]
        maker, buyer = market.maker.account["user"]["id"], market.buyer.account["user"]["id"]
        assert len(await market.found(f"q={name}&author={maker}")) == 2
        assert await market.found(f"q={name}&author={buyer}") == []

    async def test_11_3_only_what_is_public_and_active_is_listed(self, market: Market) -> None:
        name = word()
        hidden = await made(market.maker, f"{name} hidden")
        retired = await market.listed(f"{name} retired")
        await market.maker.put(f"{APPS}/{retired['id']}", {"status": "Archived"})
        assert await market.found(f"query={name}") == []
        for app in (hidden, retired):
            assert await market.found(f"id={app['id']}") == []
            assert await market.buyer.refused("GET", f"{STORE}/{app['id']}") == (404, "NOT_FOUND")

    async def test_11_3_pages_say_how_many_there_are(self, market: Market) -> None:
        name = word()
        for number in range(3):
            await market.listed(f"{name} {number}")
        answer = await market.buyer.call("GET", f"{STORE}?q={name}&sort=oldestcreated&limit=2&offset=1")
        assert answer.headers["X-Total-Count"] == "3"
        assert [meta["name"] for _, meta in answer.json] == [f"{name} 1", f"{name} 2"]
        alias = await market.buyer.get(f"/api/v1/apps/search?q={name}&sort=OldestCreated&limit=2&offset=1")
        assert alias == answer.json

    @pytest.mark.parametrize(
        "query", ["sort=Best", "limit=x", "category=None", "min_price=-1", f"q={'x' * 201}"]
    )
    async def test_11_3_a_query_that_does_not_fit_is_400(self, market: Market, query: str) -> None:
        assert await market.buyer.refused("GET", f"{STORE}?{query}") == (400, "BAD_REQUEST")

    async def test_11_3_strangers_may_look_and_a_credential_that_is_sent_must_hold(
        self, market: Market
    ) -> None:
        app = await market.listed(word())
        async with Door(market.system.base_url) as stranger:
            shown = await stranger.get(f"{STORE}/{app['id']}")
            assert (shown["member"], shown["boards"]) == (False, [])
            assert await stranger.refused("POST", f"{STORE}/{app['id']}/install") == (401, "UNAUTHORIZED")
        async with Door(market.system.base_url, "nonsense") as liar:
            assert await liar.refused("GET", STORE) == (401, "UNAUTHORIZED")

    async def test_11_3_an_item_tells_more_than_its_app(self, market: Market) -> None:
        app = await market.listed(word(), description="Counts", tags=["a"])
        assert (app["description"], app["meta"]["tags"], app["reviews"]) == ("Counts", ["a"], [])
        assert (app["member"], app["access"]) == (False, "open")
        assert (await market.maker.get(f"{STORE}/{app['id']}"))["member"] is True
        await market.maker.put(f"{APPS}/{app['id']}/meta?language=de", {"name": "Rechnungen"})
        assert (await market.buyer.get(f"{STORE}/{app['id']}?language=de"))["name"] == "Rechnungen"


class TestReviews:
    async def test_11_3_a_review_is_written_changed_and_taken_back(self, market: Market) -> None:
        path = f"{STORE}/{(await market.listed(word()))['id']}"
        first = await market.buyer.put(f"{path}/reviews", {"rating": 2, "text": "slow"})
        second = await market.buyer.put(f"{path}/reviews", {"rating": 4, "text": "better"})
        assert (second["id"], second["user_name"]) == (first["id"], "Ben")
        item = await market.maker.get(path)
        assert item["reviews"] == await market.maker.get(f"{path}/reviews") == [second]
        assert (item["rating_sum"], item["rating_count"], item["avg_rating"]) == (4, 1, 4.0)
        assert (await market.buyer.call("DELETE", f"{path}/reviews")).status == 204
        assert await market.buyer.refused("DELETE", f"{path}/reviews") == (404, "NOT_FOUND")
        item = await market.maker.get(path)
        assert (item["rating_count"], item["avg_rating"], item["reviews"]) == (0, None, [])

    async def test_11_3_members_do_not_review_and_ratings_have_bounds(self, market: Market) -> None:
        path = f"{STORE}/{(await market.listed(word()))['id']}/reviews"
        assert await market.maker.refused("PUT", path, {"rating": 5}) == (403, "FORBIDDEN")
        for wish in ({"rating": 0}, {"rating": 6}, {"rating": "5"}, {}, {"rating": 5, "text": "x" * 5_001}):
            assert await market.buyer.refused("PUT", path, wish) == (400, "BAD_REQUEST"), wish
        hidden = f"{STORE}/{(await made(market.maker))['id']}/reviews"
        assert await market.buyer.refused("PUT", hidden, {"rating": 5}) == (404, "NOT_FOUND")

    async def test_5_3_every_order_is_the_order_of_what_it_is_named_after(self, market: Market) -> None:
        name = word()
        apps = [await market.listed(f"{name} {number}") for number in range(4)]
        async with registered(market.system) as other:
            for app, ratings in zip(apps, [(5,), (3, 4), (), (1, 1)], strict=True):
                for door, rating in zip((market.buyer, other), ratings, strict=False):
                    await door.put(f"{STORE}/{app['id']}/reviews", {"rating": rating})
            await other.post(f"{STORE}/{apps[2]['id']}/install", status=201)
            await other.post(f"{STORE}/{apps[3]['id']}/install", status=201)
        orders: dict[str, Callable[[Any], float]] = {
            "relevant": lambda app: app["relevance_score"],
            "rated": lambda app: app["avg_rating"] or 0,
            "popular": lambda app: app["rating_sum"],
        }
        for title, value in orders.items():
            for sort, falls in ((f"Most{title}", True), (f"Least{title}", False)):
                known = {"Mostrated": "BestRated", "Leastrated": "WorstRated"}.get(sort, sort)
                rows = [app for app, _ in await market.buyer.get(f"{STORE}?q={name}&sort={known}")]
                assert len(rows) == 4
                values = [value(app) for app in rows]
                assert values == sorted(values, reverse=falls), known
                assert len(set(values)) > 1, known
        for app, _ in await market.buyer.get(f"{STORE}?q={name}"):
            assert app["relevance_score"] == pytest.approx(documented_relevance(app))
        assert await market.found(f"q={name}&sort=NewestCreated") == [
            f"{name} {number}" for number in (3, 2, 1, 0)
        ]


def documented_relevance(app: Any) -> float:
    """Return what the documentation says an app's relevance is."""
    used = 2 * app["download_count"] + app["interactions_count"] + 1
    return float(used * (1 + (app["avg_rating"] or 0) / 5) * (1 + math.log(1 + app["rating_count"])))


class TestInstall:
    async def test_11_3_boards_are_copied_into_the_callers_company_and_run_there(
        self, market: Market
    ) -> None:
        app = await made(market.maker, word(), description="Doubles")
        inner = await market.maker.create_flow("doubles", DOUBLE, groupId=app["id"])
        call = {"flowId": inner["id"], "args": {"net": "{{ $prev.args.net }}"}}
        outer = await market.maker.create_flow(
            "calls", {"appId": "subflow", "ref": "inner", "index": 0, "args": call}, groupId=app["id"]
        )
        await market.maker.put(f"{APPS}/{app['id']}/meta?language=de", {"name": "Verdoppler"})
        await shown_as(market.maker, app["id"], "Prototype")
        await market.decided((await market.asked(app["id"]))["id"], "ACCEPTED")
        answer = await market.buyer.call("POST", f"{STORE}/{app['id']}/install")
        copy = answer.json
        assert (answer.status, answer.headers["Location"]) == (201, f"{APPS}/{copy['id']}")
        assert (copy["name"], copy["description"], copy["visibility"]) == (app["name"], "Doubles", "Private")
        assert copy["authors"] == [market.buyer.account["user"]["id"]]
        assert (await market.buyer.get(f"{APPS}/{copy['id']}?language=de"))["name"] == "Verdoppler"
        assert len(copy["boards"]) == 2
        assert not {inner["id"], outer["id"]} & set(copy["boards"])
        flows = [await market.buyer.get(f"/api/flows/{board}") for board in copy["boards"]]
        board = next(flow["id"] for flow in flows if flow["name"] == "calls")
        wish = {"app_id": copy["id"], "board_id": board, "payload": {"net": 21}, "mode": "sync"}
        run = await market.buyer.post("/api/v1/execution/run", wish)
        assert run["status"] == "completed", run
        assert "42" in str(run["output"])
        item = await market.maker.get(f"{STORE}/{app['id']}")
        assert item["download_count"] == 1

    async def test_override_5_what_is_installed_is_what_was_accepted(self, market: Market) -> None:
        app = await made(market.maker, word())
        await market.maker.create_flow("first", DOUBLE, groupId=app["id"])
        await shown_as(market.maker, app["id"], "Prototype")
        asked = await market.asked(app["id"])
        await market.maker.create_flow("later", DOUBLE, groupId=app["id"])
        await market.decided(asked["id"], "ACCEPTED")
        copy = await market.buyer.post(f"{STORE}/{app['id']}/install", status=201)
        (board,) = copy["boards"]
        assert (await market.buyer.get(f"/api/flows/{board}"))["name"] == "first"

    async def test_11_3_secrets_and_approvers_stay_where_they_are(self, market: Market) -> None:
        app = await made(market.maker, word())
        sign = {**DOUBLE, "needsApproval": True}
        await market.maker.create_flow("signed", sign, groupId=app["id"])
        await shown_as(market.maker, app["id"], "Prototype")
        await market.decided((await market.asked(app["id"]))["id"], "ACCEPTED")
        copy = await market.buyer.post(f"{STORE}/{app['id']}/install", status=201)
        (layer,) = (await market.buyer.get(f"/api/flows/{copy['boards'][0]}"))["layers"]
        assert (layer["ref"], layer.get("approval")) == ("sum", None)

    async def test_11_3_what_is_not_listed_or_has_a_price_is_not_installed(self, market: Market) -> None:
        hidden, sold = await made(market.maker), await market.listed(word(), price=100)
        assert sold["access"] == "purchase"
        refused = await market.buyer.refused("POST", f"{STORE}/{sold['id']}/install")
        assert refused == (403, "FORBIDDEN")
        for app_id in (hidden["id"], "0" * 24, "x"):
            refused = await market.buyer.refused("POST", f"{STORE}/{app_id}/install")
            assert refused == (404, "NOT_FOUND"), app_id

    async def test_fq12_a_listed_app_of_another_company_is_not_run_but_installed(
        self, market: Market
    ) -> None:
        app = await made(market.maker, word())
        board = await market.maker.create_flow("doubles", DOUBLE, groupId=app["id"])
        wish = {"app_id": app["id"], "board_id": board["id"]}
        assert await market.buyer.refused("POST", "/api/v1/execution/run", wish) == (404, "NOT_FOUND")
        await shown_as(market.maker, app["id"], "Prototype")
        await market.decided((await market.asked(app["id"]))["id"], "ACCEPTED")
        for path in ("/api/v1/execution/run", "/jobs/submit"):
            assert await market.buyer.refused("POST", path, wish) == (403, "FORBIDDEN"), path


async def test_5_4_who_asks_for_an_app_on_request_waits(market: Market) -> None:
    app = await market.listed(word(), "PublicRequestAccess")
    async with colleague(market.system, market.maker) as bob:
        answer = await bob.call("PUT", f"{APPS}/{app['id']}/team/queue", {"message": "please"})
        assert answer.status == 204
        refused = await bob.call("GET", f"{APPS}/{app['id']}/team")
        assert refusal(refused) == (403, "FORBIDDEN")
