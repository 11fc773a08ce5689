"""Regular expressions in linear time and Go's dialect, and the only place where they are compiled (RE2)."""

from functools import lru_cache
from typing import Any

import re2

from libs.expressions.errors import PatternError
from libs.expressions.limits import (
    PATTERN_CHARS_MAX,
    PATTERN_MEMORY_BYTES_MAX,
    PATTERNS_CACHED_MAX,
)


@lru_cache(maxsize=PATTERNS_CACHED_MAX)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern, with `search`, `finditer`, `sub` and `split` as in `re`; may be shared by threads.

    Raises PatternError with a sentence when the text is no pattern, too long or too large.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise PatternError(f"a regular expression has at most {PATTERN_CHARS_MAX} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES_MAX
    try:
        return re2.compile(pattern, options)
    except (re2.error, ValueError) as error:
        raise PatternError(f"not a valid regular expression: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
