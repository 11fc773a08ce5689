"""The MCP server: what clients ask, answered from tools and calls (spec flow8 section 14.3).

Everything of the protocol is the official SDK's; this module is imported when the first client comes, for it takes
longer to import than the rest of the gateway.
"""

from collections import OrderedDict
from importlib.metadata import version
from typing import Any

import anyio
import mcp_types as types
import msgspec
from mcp.server import NotificationOptions, Server, ServerRequestContext
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from starlette.requests import Request

from libs.common.errors import HeadraceError
from libs.common.messages.channel import ChannelRoute
from services.gateway.channels.book import ChannelBook
from services.gateway.mcp.arguments import OPEN_SCHEMA
from services.gateway.mcp.calls import Answer, Calls
from services.gateway.mcp.news import Report
from services.gateway.mcp.sessions import Sessions
from services.gateway.principal import Principal

NAME = "headrace"
INSTRUCTIONS = "Each tool runs a flow of your company and answers with the output of its last step."
# Where the entry leaves who is asking, for the handlers of the request.
CALLER = "headrace.caller"
LISTENERS_PER_COMPANY_MAX = 256
COMPANIES_MAX = 10_000
Context = ServerRequestContext[Any, Any]


class _Protocol(Server[Any]):
    """The SDK's server, which tells of changed tools."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return what `initialize` answers."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class _Listeners:
    """The streams of one company that are told of changes (`subscriptions/listen`, protocol 2026-07-28)."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.handler = ListenHandler(self.bus, max_subscriptions=LISTENERS_PER_COMPANY_MAX)


class McpServer:
    """Answers MCP clients of all companies."""

    def __init__(self, channels: ChannelBook, calls: Calls, sessions: Sessions) -> None:
        self._channels = channels
        self._calls = calls
        self._sessions = sessions
        self._listeners: OrderedDict[str, _Listeners] = OrderedDict()
        self.protocol = _Protocol(
            NAME,
            version=version("headrace"),
            title="Headrace",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
        )

    async def tools_changed(self, company_id: str) -> None:
        """Tell the clients of a company that its tools are others now."""
        listeners = self._listeners.get(company_id)
        if listeners is not None:
            await listeners.bus.publish(ToolsListChanged())
        for session in self._sessions.of(company_id):
            await session.send_tool_list_changed()

    def stop(self) -> None:
        """End the streams that are told of changes."""
        for listeners in self._listeners.values():
            listeners.handler.close()

    async def _list_tools(
        self, context: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        caller = _caller(context)
        self._sessions.listens(_request(context).headers.get(MCP_SESSION_ID_HEADER), context.session)
        return types.ListToolsResult(tools=[_shown(route) for route in self._tools(caller.company_id)])

    async def _call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        caller = _caller(context)
        tool = next(
            (route for route in self._tools(caller.company_id) if route.tool_name == params.name), None
        )
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:64]}")
        try:
            answer = await self._calls.call(caller, tool, params.arguments or {}, _report(context))
        except HeadraceError as error:
            raise _problem(error) from error
        return _result(answer)

    async def _listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        company_id = _caller(context).company_id
        listeners = self._listeners.get(company_id)
        if listeners is None:
            listeners = self._listeners[company_id] = _Listeners()
            if len(self._listeners) > COMPANIES_MAX:
                self._listeners.popitem(last=False)[1].handler.close()
        return await listeners.handler(context, params)

    def _tools(self, company_id: str) -> list[ChannelRoute]:
        """Return the routes of the company's enabled MCP channels, by their names."""
        channels = self._channels.of_company(company_id, "mcp")
        return sorted((route for channel in channels for route in channel.routes), key=lambda r: r.tool_name)


def _request(context: Context) -> Request:
    request = context.request
    assert isinstance(request, Request), "MCP without HTTP"
    return request


def _caller(context: Context) -> Principal:
    caller = _request(context).scope[CALLER]
    assert isinstance(caller, Principal), "a request that nobody let in"
    return caller


def _shown(route: ChannelRoute) -> types.Tool:
    return types.Tool(
        name=route.tool_name,
        title=route.name,
        description=route.description or route.name,
        input_schema=route.input_schema or OPEN_SCHEMA,
    )


def _report(context: Context) -> Report:
    count = 0

    async def report(news: str) -> None:
        nonlocal count
        count += 1
        try:
            await context.session.report_progress(count, message=news)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # The stream of this call is gone, and with it whoever wanted to know.
            return

    return report


def _result(answer: Answer) -> types.CallToolResult:
    text = msgspec.json.encode(answer.value).decode()
    # Until 2025-11-25 structured content is an object; the SDK's clients call a wrapped value `result`.
    structured = answer.value if isinstance(answer.value, dict) else {"result": answer.value}
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=structured, is_error=answer.failed
    )


def _problem(error: HeadraceError) -> MCPError:
    code = types.INVALID_REQUEST if error.status < 500 else types.INTERNAL_ERROR
    return MCPError(code, error.message, {"error": error.code, "statusCode": error.status})
