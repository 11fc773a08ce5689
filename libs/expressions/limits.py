"""Every bound of the expression language: a flow's author must not be able to stall or fill an executor."""

EXPRESSION_CHARS_MAX = 65_536
EXPRESSION_DEPTH_MAX = 64
EXPRESSIONS_MAX = 10_000  # in one value
TEXT_CHARS_MAX = 4 * 1024 * 1024  # of one string that holds expressions
VALUE_DEPTH_MAX = 128  # of a value that holds expressions

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
# What functions may read and make in one evaluation, in bytes of text; four times the largest output leaves
# room for intermediate values while a chain of calls still ends soon.
WORK_BYTES_MAX = 4 * OUTPUT_BYTES_MAX
ITEM_WORK_BYTES = 64  # an element of a list weighs about this much in memory
# Half a million take about half a second, each: to be read as a number, or put in its place.
COUNTED_WORK_BYTES = 128
SORTED_WORK_BYTES = 192
TITLE_WORK_FACTOR = 32  # two million characters take about half a second
# A part of a loop's body, each time it comes by: a quarter of a million take about 0.3 s.
STEP_WORK_BYTES = 256

XPATH_WORK_FACTOR = 8  # a document is read into a tree of several times its size

NUMBER_CHARS_MAX = 64  # of a text that is read as a number
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
INT_BITS_MAX = 1_024  # of an integer that comes in; the largest float has as many
EXACT_FLOAT_MAX = 2**53  # integral floats below it are whole numbers without doubt
ROUND_DIGITS_MAX = 15

RANDOM_CHARS_MAX = 4_096
DAYS_MAX = 3_660_000  # ten thousand years: more leaves the calendar
LAYOUT_CHARS_MAX = 256
LAYOUTS_CACHED_MAX = 256
ZONE_CHARS_MAX = 64
ZONES_CACHED_MAX = 64
PRINTF_CHARS_MAX = 1_000  # width and precision of one printf verb

TEMPLATE_CHARS_CACHED_MAX = 16_384
TEMPLATES_CACHED_MAX = 128

PATTERN_CHARS_MAX = 4_096
PATTERN_MEMORY_BYTES_MAX = 8 * 1024 * 1024
PATTERNS_CACHED_MAX = 512

EXCERPT_CHARS_MAX = 60  # either side of an error's place
