"""The metrics that services keep, by name; each process serves its own on its operations port."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter("headrace_http_requests_total", "HTTP requests answered", ("method", "route", "status"))
REQUEST_SECONDS = Histogram("headrace_http_request_seconds", "Time to answer", ("route",), buckets=SECONDS)
SOCKETS = Gauge("headrace_sockets_open", "WebSocket clients connected")
WAITERS = Gauge("headrace_waiters", "Calls that wait for a play's end")
PLAYS = Counter("headrace_plays_total", "Plays that reached a state by a commit of this executor", ("state",))
PLAY_SECONDS = Histogram("headrace_play_seconds", "From the start command to the end", buckets=SECONDS)
STEP_SECONDS = Histogram("headrace_step_seconds", "Time a module ran", ("module", "state"), buckets=SECONDS)
DRIVING = Gauge("headrace_plays_driven", "Plays driven by this executor now")
COMMITS = Counter("headrace_commits_total", "Commits appended", ("outcome",))
CONSUMER_PENDING = Gauge("headrace_consumer_pending", "Commands not yet delivered", ("consumer",))
PROJECTION_LAG = Gauge("headrace_projection_lag", "Messages of the log not yet projected", ("stream",))
PROJECTED = Counter("headrace_projected_total", "Messages projected", ("stream",))
SWEPT = Counter("headrace_revived_total", "Plays the sweep asked to revive")
