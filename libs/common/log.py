"""Logging: structlog, JSON lines for machines and readable lines for a terminal, with the trace's id in each."""

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace as otel

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}


def configure(*, service: str, instance: str, level: str) -> None:
    """Set up logging for this process; lines go to standard error."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(
                [structlog.dev.ConsoleRenderer()]
                if terminal
                else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _add_trace(_logger: Any, _method: str, event: Any) -> Any:
    context = otel.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event
