"""Who answers what: each subject of requests, the kinds that come there, and the handler of each."""

from typing import Any, NamedTuple

from libs.common import rpc, subjects
from libs.common.bus import Bus
from libs.common.cipher import Cipher
from libs.common.messages import (
    app,
    app_key,
    app_query,
    channel,
    flow,
    grant,
    group,
    key,
    kv,
    module,
    pat,
    query,
    request,
    review,
    user,
    version,
)
from libs.common.messages.access import AnySessionCommand, LogIn, LogOut
from libs.common.messages.audit import ListAudit
from libs.common.payloads import Payloads
from services.store.accounts import Accounts
from services.store.app_installs import AppInstalls
from services.store.app_keys import AppKeys
from services.store.app_shelf import AppShelf
from services.store.apps import Apps
from services.store.audit import Audit
from services.store.catalogue import Catalogue
from services.store.channels import Channels
from services.store.database import Database
from services.store.flows import Flows
from services.store.grants import Grants
from services.store.groups import Groups
from services.store.keys import Keys
from services.store.kv import Kv
from services.store.late_plays import LatePlays
from services.store.ledger import Ledger
from services.store.listing import Listing
from services.store.passwords import Passwords
from services.store.pats import Pats
from services.store.progress import Progress
from services.store.queries import Queries
from services.store.refusals import Refusals
from services.store.reviews import Reviews
from services.store.schedules import Schedules
from services.store.sessions import Sessions
from services.store.tokens import AccessTokens
from services.store.users import Users
from services.store.versions import Versions


class Parts(NamedTuple):
    """What the answers are made with."""

    bus: Bus
    database: Database
    progress: Progress
    catalogue: Catalogue
    cipher: Cipher
    passwords: Passwords
    channel_ports: range
    payloads: Payloads


class Answers(NamedTuple):
    """A subject, the tagged union of its requests, and the handler of each kind."""

    subject: str
    requests: Any
    handlers: dict[type, rpc.Handler]


def answers(parts: Parts, *, shards: int) -> list[Answers]:
    """Return everything that a store answers."""
    ledger = Ledger(parts.bus, parts.progress)
    listing = Listing(parts.database, parts.progress)
    flows = Flows(parts.bus, ledger, parts.catalogue)
    entries = Kv(parts.bus, Ledger(parts.bus, parts.progress, subjects.KV), ledger, listing, parts.cipher)
    groups = Groups(ledger, listing, parts.database, flows, entries)
    return [
        *_of_flows_and_plays(parts, flows, listing, shards),
        *_of_access(parts, ledger, listing),
        _of_schedules(parts, listing),
        *_of_channels(parts, ledger, listing),
        *_of_apps(parts, ledger, listing, Apps(ledger, parts.database, groups, flows)),
        Answers(
            subjects.command("group"),
            group.AnyGroupCommand,
            {
                group.CreateGroup: groups.handle,
                group.UpdateGroup: groups.handle,
                group.DeleteGroup: groups.delete,
            },
        ),
        Answers(
            subjects.query("group"),
            group.AnyGroupQuery,
            {group.ListGroups: groups.page, group.GetGroup: groups.get},
        ),
        Answers(
            subjects.command("kv"),
            kv.AnyKvCommand,
            {
                kv.SetKv: entries.write,
                kv.AppendKv: entries.write,
                kv.IncrementKv: entries.write,
                kv.DeleteKv: entries.delete,
                kv.UnsetKv: entries.unset,
            },
        ),
        Answers(
            subjects.query("module"),
            module.AnyModuleQuery,
            {module.ListModules: parts.catalogue.page, module.GetModule: parts.catalogue.get},
        ),
        Answers(
            subjects.query("kv"),
            kv.AnyKvQuery,
            {
                kv.ListKv: entries.page,
                kv.GetKv: entries.get,
                kv.ReadKv: entries.read,
                kv.ReadKvForStep: entries.read_for_step,
                kv.OpenKv: entries.open,
            },
        ),
    ]


def _of_flows_and_plays(parts: Parts, flows: Flows, listing: Listing, shards: int) -> list[Answers]:
    late_plays = LatePlays(parts.bus, parts.payloads, shards=shards)
    queries = Queries(parts.database, parts.progress, listing, late_plays)
    versions = Versions(parts.bus, listing)
    commands = (
        flow.CreateFlow, flow.UpdateFlow, flow.DeleteFlow, flow.RestoreFlow, flow.AddLayer, flow.UpdateLayer,
        flow.DeleteLayer,
    )  # fmt: skip
    return [
        Answers(subjects.command("flow"), flow.AnyFlowCommand, dict.fromkeys(commands, flows.handle)),
        Answers(
            subjects.query("flow"),
            query.AnyFlowQuery | version.AnyVersionQuery,
            {
                query.ListFlows: queries.list_flows,
                query.GetFlow: queries.get_flow,
                version.ListFlowVersions: versions.page,
                version.GetFlowVersion: versions.get,
                version.DiffFlowVersions: versions.diff,
            },
        ),
        Answers(
            subjects.query("play"),
            query.AnyPlayQuery,
            {
                query.ListPlays: queries.list_plays,
                query.GetPlay: queries.get_play,
                query.ListPlayLayers: queries.list_play_layers,
                query.ListStalePlays: queries.list_stale_plays,
            },
        ),
    ]


def _of_channels(parts: Parts, ledger: Ledger, listing: Listing) -> list[Answers]:
    channels = Channels(parts.bus, ledger, listing, parts.cipher, parts.channel_ports)
    commands = (
        channel.CreateChannel, channel.UpdateChannel, channel.DeleteChannel, channel.AddRoute, channel.UpdateRoute,
        channel.DeleteRoute,
    )  # fmt: skip
    return [
        Answers(
            subjects.command("channel"), channel.AnyChannelCommand, dict.fromkeys(commands, channels.handle)
        ),
        Answers(
            subjects.query("channel"),
            channel.AnyChannelQuery | request.ListRequests,
            {
                channel.ListChannels: channels.page,
                channel.GetChannel: channels.get,
                request.ListRequests: channels.requests,
            },
        ),
    ]


def _of_schedules(parts: Parts, listing: Listing) -> Answers:
    schedules = Schedules(parts.database, listing)
    return Answers(
        subjects.query("schedule"),
        query.AnyScheduleQuery,
        {
            query.ListSchedules: schedules.list,
            query.GetSchedule: schedules.get,
            query.ListTimers: schedules.timers,
            query.ListOverdueSchedules: schedules.overdue,
        },
    )


def _of_access(parts: Parts, ledger: Ledger, listing: Listing) -> list[Answers]:
    refusals = Refusals(parts.bus)
    sessions = Sessions(parts.bus, parts.database, parts.passwords, refusals)
    users = Users(parts.bus, ledger, listing, parts.passwords)
    keys = Keys(ledger, listing)
    return [
        *_of_accounts(parts, listing, ledger, users, refusals),
        Answers(
            subjects.command("session"), AnySessionCommand, {LogIn: sessions.open, LogOut: sessions.close}
        ),
        Answers(
            subjects.command("user"),
            user.AnyUserCommand,
            {
                user.CreateUser: users.create,
                user.UpdateUser: users.update,
                user.UpdateAccount: Accounts(parts.bus, parts.database, users).update,
                user.ResetPassword: users.reset_password,
                user.ChangePassword: users.change_password,
            },
        ),
        Answers(
            subjects.query("user"),
            user.AnyUserQuery,
            {user.ListUsers: users.page, user.GetUser: users.get},
        ),
        Answers(
            subjects.command("key"),
            key.AnyKeyCommand,
            {key.IssueKey: keys.handle, key.RevokeKey: keys.handle},
        ),
        Answers(subjects.query("key"), key.AnyKeyQuery, {key.ListKeys: keys.page}),
        Answers(subjects.query("audit"), ListAudit, {ListAudit: Audit(listing).page}),
    ]


def _of_accounts(
    parts: Parts, listing: Listing, ledger: Ledger, users: Users, refusals: Refusals
) -> list[Answers]:
    grants = Grants(
        parts.bus,
        parts.database,
        parts.passwords,
        Accounts(parts.bus, parts.database, users),
        AccessTokens(parts.bus, parts.cipher),
        refusals,
    )
    pats = Pats(ledger, listing)
    return [
        Answers(
            subjects.command("grant"),
            grant.AnyGrantCommand,
            {
                grant.SignIn: grants.sign_in,
                grant.SignInWith: grants.vouched,
                grant.Register: grants.register,
                grant.Refresh: grants.refresh,
                grant.EndGrant: grants.end,
            },
        ),
        Answers(
            subjects.command("pat"),
            pat.AnyPatCommand,
            {pat.IssuePat: pats.handle, pat.RevokePat: pats.handle},
        ),
        Answers(subjects.query("pat"), pat.AnyPatQuery, {pat.ListPats: pats.page}),
    ]


def _of_apps(parts: Parts, ledger: Ledger, listing: Listing, apps: Apps) -> list[Answers]:
    keys, reviews = AppKeys(ledger, apps), Reviews(ledger, parts.database)
    shelf = AppShelf(listing)
    changes = (
        app.UpdateApp, app.PutRole, app.DeleteRole, app.SetDefaultRole, app.AssignRole, app.InviteMember,
        app.RemoveMember, app.JoinApp, app.AnswerJoin,
    )  # fmt: skip
    return [
        Answers(
            subjects.command("app"),
            app.AnyAppCommand,
            {
                **dict.fromkeys(changes, apps.handle),
                app.CreateApp: apps.create,
                app.SetVisibility: apps.show,
                app.DecidePublication: apps.decide,
                app.DeleteApp: apps.delete,
                app.InstallApp: AppInstalls(ledger, parts.database, apps, parts.bus).install,
            },
        ),
        Answers(
            subjects.query("app"),
            app_query.AnyAppQuery,
            {
                app_query.ListApps: shelf.page,
                app_query.GetApp: shelf.get,
                app_query.SearchStore: shelf.search,
                app_query.GetItem: shelf.item,
                app_query.ListReviews: shelf.reviews,
                app_query.ListPublications: shelf.publications,
                app_query.ListAppKeys: shelf.keys,
            },
        ),
        Answers(
            subjects.command("appkey"),
            app_key.AnyAppKeyCommand,
            {app_key.IssueAppKey: keys.handle, app_key.RevokeAppKey: keys.handle},
        ),
        Answers(
            subjects.command("review"),
            review.AnyReviewCommand,
            {review.WriteReview: reviews.handle, review.DeleteReview: reviews.handle},
        ),
    ]
