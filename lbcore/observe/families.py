"""The families of metrics: all that GET /metrics can show, with its help.

tools/docs/metrics.md is made from this table (tools/render-options), and a family that it does not name cannot be shown.
"""

from __future__ import annotations

from lbcore.engine.codes import CLASSES, GRPC_CODES
from lbcore.observe.family import MAP, MODEL, Family, of_ended

MOST_BACKENDS = 1000
"""With more of them in all pools, backends have no series of their own: their pools' remain."""

LE_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
"""Upper bounds of the buckets of histograms, in seconds: summed from finer ones, so that a bound is off by 3% at most."""

INSTANCE = (
    Family("info", "gauge", ("name", "version", "datapath", "loop"), "Always 1; the labels say which balancer this is."),
    Family("uptime_seconds", "gauge", (), "Seconds since the balancer started."),
    Family("draining", "gauge", (), "1 while the balancer drains, else 0."),
    Family(
        "control_cpu_seconds",
        "counter",
        (),
        "CPU time of the control plane, earlier processes included; with workers in threads, theirs too.",
    ),
    Family("control_memory_bytes", "gauge", (), "Resident memory of the control plane's process."),
    Family("control_descriptors", "gauge", (), "Descriptors that the control plane's process has open."),
    Family("control_threads", "gauge", (), "Threads of the control plane's process."),
    Family("probes", "counter", ("result",), "Health probes that ended, good or bad."),
    Family(
        "shortages",
        "counter",
        ("what",),
        "Probes and DNS look-ups that this host had no source port, descriptor or memory for; they count against no backend.",
    ),
    Family("registrations", "counter", (), "Registrations of backends, first and repeated ones."),
    Family("heartbeats", "counter", (), "Heartbeats of registered backends."),
    Family("reloads", "counter", ("result",), "Reloads of the configuration, taken or refused."),
    Family("admin_refused", "counter", ("status",), "Requests to the admin server that were refused, by status."),
)
CLUSTER = (
    Family("cluster_connected", "gauge", (), "1 while this node has contact to the store, else 0."),
    Family("cluster_last_contact_seconds", "gauge", (), "Seconds since the store answered last; absent before it did."),
    Family("cluster_lag_seconds", "gauge", (), "How long the last write of this node took until the node saw it come back."),
    Family("cluster_revision", "gauge", (), "Revision of the store that this node has seen."),
    Family("cluster_nodes", "gauge", (), "Nodes that hold their lease."),
    Family("cluster_registrations", "gauge", (), "Registrations that this node knows of."),
    Family("cluster_heard", "gauge", (), "Registrations whose heartbeats arrive at this node."),
    Family("cluster_unwritten", "gauge", (), "Registrations and orders that the other nodes do not know of yet."),
    Family(
        "cluster_reports",
        "counter",
        ("way",),
        "Loads of backends that this node told the others (sent), and loads that others told it and that it uses (used).",
    ),
    Family("cluster_ignored", "gauge", (), "Keys under the prefix that are damaged, or none of lbcore's."),
)
LISTENER = (
    Family("listener_connections", "counter", ("listener",), "Connections accepted; of udp: sessions opened."),
    *of_ended("listener", "that came through this listener", "came by HTTP/2"),
    Family(
        "listener_limited",
        "counter",
        ("listener",),
        "Connections, udp sessions and requests that a limit per client address refused.",
    ),
    Family(
        "listener_certificate_expires_seconds",
        "gauge",
        ("listener",),
        "Unix time when the first of a listener's certificates expires.",
    ),
)
POOL = (
    *of_ended("pool", "for this pool", "went to their backend by HTTP/2"),
    Family(
        "pool_backends",
        "gauge",
        ("pool", "state"),
        "Backends in this state; kept: the backend failed, and still gets sessions, because no other is better.",
    ),
    Family(
        "pool_outage",
        "gauge",
        ("pool",),
        "1 while no backend is usable: each is down, kept, busy, starting or draining, or has no weight.",
    ),
    Family("pool_active", "gauge", ("pool",), "Sessions and requests under way on the pool's backends."),
    Family("pool_queued", "gauge", ("pool",), "Requests that wait for a backend."),
    Family(
        "pool_prefix_requests",
        "counter",
        ("pool", "result"),
        "Policy prefix: requests with a text or key; continued: to the backend that served it before; shared: to one that knows"
        " its beginning; new: to one that does not.",
    ),
    Family(
        "pool_prefix_moved",
        "counter",
        ("pool",),
        "Policy prefix: requests whose backend had too much under way, or that warm up a new one; each also is shared or new.",
    ),
    Family("pool_prefix_bytes", "counter", ("pool",), "Policy prefix: bytes of texts, in whole blocks."),
    Family("pool_prefix_matched_bytes", "counter", ("pool",), "Policy prefix: bytes of texts that their backend had already."),
    Family(
        "pool_response_seconds",
        "histogram",
        ("pool",),
        "From a request's whole head to its response's head; of udp, from a datagram to its first reply.",
    ),
    Family("pool_request_seconds", "histogram", ("pool",), "From a request's whole head to the end of its backend's response."),
    Family("pool_connect_seconds", "histogram", ("pool",), "Connects to backends that succeeded, TLS included."),
    Family("pool_session_seconds", "histogram", ("pool",), "From the opening of a session to its end."),
    Family("pool_queue_seconds", "histogram", ("pool",), "Waits of requests in the pool's queue, whatever ended them."),
)
_SOURCE = ("pool", "kind", "source")
SOURCE = (
    Family("source_connected", "gauge", _SOURCE, "1 while the source answers, 0 while its last answer is kept."),
    Family(
        "source_stale",
        "gauge",
        _SOURCE,
        "1 while what is in force is older than what the source would say: it does not answer, it names nobody and the last"
        " backends are kept, or a name in it cannot be resolved; also before its first answer.",
    ),
    Family(
        "source_last_contact_seconds",
        "gauge",
        _SOURCE,
        "Seconds since the source answered last, a file that is as it was included; absent before the first answer.",
    ),
    Family("source_entries", "gauge", _SOURCE, "Backends that the source names."),
    Family("source_skipped", "gauge", _SOURCE, "Entries of the source that name no backend: damaged, foreign or too many."),
    Family("source_failures", "counter", _SOURCE, "Times that the source gave no answer that could be used."),
)
_SCRAPE = ("pool", "backend")
SCRAPE = (
    Family(
        "scrape_age_seconds",
        "gauge",
        _SCRAPE,
        "Seconds since the backend's own metrics were read with success (`[pool.scrape]`); absent before.",
    ),
    Family("scrapes", "counter", (*_SCRAPE, "result"), "Reads of the backend's own metrics, by result: good or failed."),
)
_BACKEND = ("pool", "backend")
BACKEND = (
    Family(
        "backends_without_series", "gauge", (), f"Backends that are not shown: all, where there are over {MOST_BACKENDS:,}."
    ),
    Family(
        "backend_state",
        "gauge",
        (*_BACKEND, "state"),
        "1 for the state that the backend is in, 0 for the others; kept is one of them.",
    ),
    Family(
        "backend_weight",
        "gauge",
        _BACKEND,
        "The backend's share of new sessions, relative to the weights of the pool's other backends.",
    ),
    Family("backend_active", "gauge", _BACKEND, "Sessions and requests under way on the backend."),
    Family("backend_sessions", "counter", _BACKEND, "Connects that succeeded, and requests that got a response."),
    Family("backend_failures", "counter", _BACKEND, "Connects and responses that failed."),
    Family(
        "backend_latency_seconds",
        "gauge",
        _BACKEND,
        "How long its connects or responses take lately, by the slowest worker's view.",
    ),
)
LOG = (
    Family("spans_sent", "counter", (), "Spans of traces that were sent; absent where nothing is traced."),
    Family(
        "spans_lost", "counter", (), "Spans of traces that were not sent: the collector did not take them, or too many waited."
    ),
    Family("access_log_lines", "counter", (), "Lines of the access log that were written."),
    Family(
        "access_log_lost",
        "counter",
        (),
        "Lines of the access log that were not written: the log could not keep up, or could not be written.",
    ),
)


def _worker(name: str, kind: str, help: str) -> Family:
    return Family(f"worker_{name}", kind, ("worker",), help)


COUNTED = {
    "accepted": _worker("accepted", "counter", "Connections accepted, and udp sessions opened."),
    "active": _worker("active", "gauge", "Connections and udp sessions that are open now."),
    "closed": _worker("closed", "counter", "Connections and udp sessions that were served and have ended; closed_* say why."),
    "refused": _worker("refused", "counter", "Connections and udp sessions that were not served; refused_* say why."),
    "bytes_in": _worker("received_bytes", "counter", "Bytes from clients."),
    "bytes_out": _worker("sent_bytes", "counter", "Bytes to clients."),
    "bytes_spliced": _worker("spliced_bytes", "counter", "Bytes that went through the kernel's pipes, without a copy."),
    "bytes_offloaded": _worker("offloaded_bytes", "counter", "Bytes that the kernel forwarded; part of received and sent."),
    "offloads": _worker("offloads", "counter", "Sessions that were handed to the kernel."),
    "offloads_local": _worker(
        "offloads_local", "counter", "Sessions that were handed to the kernel with a backend of this host."
    ),
    "offload_misses": _worker("offload_misses", "counter", "Sessions that were to be handed to the kernel, and could not be."),
    "refused_no_backend": _worker("refused_no_backend", "counter", "Refused: the pool had no backend to offer."),
    "refused_connect": _worker("refused_connect", "counter", "Refused: no backend could be reached."),
    "refused_client_aborts": _worker(
        "refused_client_aborts", "counter", "Refused: the client left before a backend was reached."
    ),
    "refused_resource": _worker(
        "refused_resource", "counter", "Refused: no room for a session, no descriptor or no port was left."
    ),
    "refused_client_sessions": _worker(
        "refused_client_sessions", "counter", "Refused: the client address had max_client_sessions open."
    ),
    "refused_denied": _worker(
        "refused_denied", "counter", "Refused: the client address is not in allow_clients, or is in deny_clients."
    ),
    "requests_unauthenticated": _worker(
        "requests_unauthenticated", "counter", "HTTP requests that got 401: no valid credentials came (api_keys, basic_auth)."
    ),
    "auth_requests": _worker("auth_requests", "counter", "Questions to a pool that decides on requests (auth_request)."),
    "auth_cached": _worker("auth_cached", "counter", "HTTP requests that went on by such a decision of before (cache)."),
    "auth_refused": _worker("auth_refused", "counter", "Of the questions: those that were refused."),
    "auth_failed": _worker("auth_failed", "counter", "Questions that got no answer, so the request got a 503 or 504."),
    "requests_denied": _worker(
        "requests_denied",
        "counter",
        "HTTP requests that got 403: the client address is not allowed.",
    ),
    "refused_client_rate": _worker(
        "refused_client_rate", "counter", "Refused: the client address opened more than client_session_rate."
    ),
    "http2_connections": _worker("http2_connections", "counter", "Client connections that spoke HTTP/2."),
    "http2_streams": _worker("http2_streams", "counter", "HTTP/2 streams that clients opened; each is a request."),
    "http2_streams_active": _worker("http2_streams_active", "gauge", "HTTP/2 streams of clients that are open now."),
    "http2_streams_refused": _worker(
        "http2_streams_refused", "counter", "HTTP/2 streams that were refused: over max_streams, or no place was left."
    ),
    "http2_resets_received": _worker("http2_resets_received", "counter", "HTTP/2 streams that their client reset."),
    "http2_resets_sent": _worker("http2_resets_sent", "counter", "HTTP/2 streams that the balancer reset."),
    "http2_goaways": _worker(
        "http2_goaways", "counter", "HTTP/2 connections that were told to go: idle, draining, or after an error."
    ),
    "http2_faults": _worker(
        "http2_faults", "counter", "HTTP/2 connections that were ended because the client broke the rules."
    ),
    "http2_floods_frames": _worker(
        "http2_floods_frames", "counter", "HTTP/2 connections that were ended for too many frames that ask for nothing."
    ),
    "http2_floods_resets": _worker(
        "http2_floods_resets", "counter", "HTTP/2 connections that were ended for too many streams that were reset."
    ),
    "http2_floods_headers": _worker(
        "http2_floods_headers", "counter", "HTTP/2 connections that were ended for a header block without end."
    ),
    "http2_stalls": _worker("http2_stalls", "counter", "Times that a response waited for its HTTP/2 client to open a window."),
    "requests_limited": _worker(
        "requests_limited", "counter", "HTTP requests that got 429: their client address sent more than client_request_rate."
    ),
    "requests_slow": _worker(
        "requests_slow", "counter", "HTTP requests that got 408: their client sent the body more slowly than min_body_rate."
    ),
    "clients_counted": _worker("clients_counted", "gauge", "Sessions that are counted by their client's address now."),
    "clients_uncounted": _worker(
        "clients_uncounted",
        "counter",
        "Sessions that could not be counted by their client's address: the table of clients was full.",
    ),
    "closed_done": _worker("closed_done", "counter", "Closed: both sides finished."),
    "closed_client_reset": _worker("closed_client_reset", "counter", "Closed: the client broke off."),
    "closed_backend_reset": _worker("closed_backend_reset", "counter", "Closed: the backend broke off."),
    "closed_idle": _worker("closed_idle", "counter", "Closed: nothing moved for too long."),
    "closed_slow": _worker("closed_slow", "counter", "Closed: the client sent or took a body more slowly than min_body_rate."),
    "requests_rate_limited": _worker(
        "requests_rate_limited", "counter", "HTTP requests that got 429: their key sent more than their route's rate."
    ),
    "keys_forgotten": _worker(
        "keys_forgotten",
        "counter",
        "Keys of rate limits that were forgotten before their time, because others took their place: the limits were milder.",
    ),
    "requests_urgent": _worker(
        "requests_urgent", "counter", "HTTP requests that had to wait for a backend, with X-LB-Priority: high."
    ),
    "requests_overdue": _worker(
        "requests_overdue",
        "counter",
        "HTTP requests that took longer than their route's total_timeout: they got 504, or were broken off.",
    ),
    "closed_overdue": _worker("closed_overdue", "counter", "Closed: a response took longer than its route's total_timeout."),
    "closed_half": _worker("closed_half", "counter", "Closed: one side had finished, and the other did not in time."),
    "closed_cut": _worker("closed_cut", "counter", "Closed: the backend was removed, and the drain time ran out."),
    "closed_stopped": _worker("closed_stopped", "counter", "Closed: the balancer stopped."),
    "closed_lost": _worker("closed_lost", "counter", "Closed: the worker died."),
    "closed_moved": _worker("closed_moved", "counter", "Closed: a udp session went over to the worker that replaced this one."),
    "connects": _worker("connects", "counter", "Connects to backends that were begun."),
    "connect_failures": _worker("connect_failures", "counter", "Connects to backends that failed."),
    "connect_timeouts": _worker(
        "connect_timeouts", "counter", "Connects that took too long; connect_failures counts them, too."
    ),
    "shortages": _worker(
        "shortages",
        "counter",
        "Connects that this host had no source port, descriptor or memory for; they count against no backend.",
    ),
    "retries": _worker("retries", "counter", "Connects to a further backend after a failed one."),
    "retries_denied": _worker("retries_denied", "counter", "Retries that the budget did not allow."),
    "hedges": _worker("hedges", "counter", "HTTP requests that a second backend was asked as well, since the first was late."),
    "hedges_won": _worker("hedges_won", "counter", "Of these: the second backend answered first."),
    "hedges_denied": _worker("hedges_denied", "counter", "HTTP requests that hedge_budget did not let go to a second backend."),
    "mirrors": _worker("mirrors", "counter", "Copies of HTTP requests that were sent to the mirror of their route."),
    "mirrors_active": _worker("mirrors_active", "gauge", "Copies of HTTP requests under way to mirrors."),
    "mirrors_failed": _worker("mirrors_failed", "counter", "Copies of HTTP requests that got no whole response from a mirror."),
    "mirrors_missed": _worker(
        "mirrors_missed", "counter", "HTTP requests that a mirror did not get: not held whole, or too many copies under way."
    ),
    "responses_retried": _worker(
        "responses_retried", "counter", "Responses of retry_on that no client got: another backend was asked."
    ),
    "accept_errors": _worker("accept_errors", "counter", "Accepts that failed."),
    "accept_pauses": _worker(
        "accept_pauses", "counter", "Times that accepting paused: max_sessions was reached, or descriptors were short."
    ),
    "buffer_waits": _worker("buffer_waits", "counter", "Reads put off because every buffer was in use."),
    "pipe_misses": _worker("pipe_misses", "counter", "Streams that were copied because no pipe was free."),
    "quickacks": _worker("quickacks", "counter", "Responses acknowledged at once, so that Nagle's algorithm does not wait."),
    "buffers": _worker("buffers", "gauge", "Buffers in use."),
    "pipes": _worker("pipes", "gauge", "Pipes in use."),
    "turns": _worker("turns", "counter", "Iterations of the event loop."),
    "requests": _worker("requests", "counter", "HTTP requests that clients began to send."),
    "requests_active": _worker("requests_active", "gauge", "HTTP requests under way."),
    "requests_done": _worker(
        "requests_done", "counter", "HTTP requests whose backend's response was delivered, or that upgraded."
    ),
    "requests_refused": _worker("requests_refused", "counter", "HTTP requests that got a local response."),
    "requests_client_aborts": _worker(
        "requests_client_aborts", "counter", "HTTP requests whose client left before the response was delivered."
    ),
    "requests_failed": _worker("requests_failed", "counter", "HTTP requests whose response broke off."),
    "requests_stopped": _worker(
        "requests_stopped", "counter", "HTTP requests cut short because the balancer stopped or the backend was removed."
    ),
    "requests_lost": _worker("requests_lost", "counter", "HTTP requests lost with a worker that died."),
    "requests_queued": _worker("requests_queued", "counter", "HTTP requests that had to wait for a backend."),
    "queued": _worker("queued", "gauge", "HTTP requests that wait for a backend now."),
    **{
        f"responses_{family}": _worker(
            f"responses_{family}", "counter", f"HTTP responses of class {family}, local responses included."
        )
        for family in CLASSES
    },
    "goaways": _worker("goaways", "counter", "HTTP/2 connections to backends whose backend sent GOAWAY."),
    "calls_refused": _worker(
        "calls_refused",
        "counter",
        "Requests that HTTP/2 backends refused before they looked at them (REFUSED_STREAM, GOAWAY).",
    ),
    "calls": _worker("calls", "counter", "Requests that were given to an HTTP/2 connection to a backend; each is a stream."),
    "calls_active": _worker("calls_active", "gauge", "Streams to HTTP/2 backends that are open now, or wait for a connection."),
    "calls_stalls": _worker("calls_stalls", "counter", "Times that a request waited for its HTTP/2 backend to open a window."),
    "calls_reset": _worker("calls_reset", "counter", "Requests that a backend of HTTP/2 reset for another reason."),
    **{
        f"grpc_{code}": _worker(f"grpc_{code}", "counter", f"gRPC calls whose client was told {code.upper()}.")
        for code in GRPC_CODES
    },
    "requests_bad": _worker("requests_bad", "counter", "HTTP requests that broke the rules of HTTP or a limit."),
    "responses_bad": _worker("responses_bad", "counter", "Responses of backends that broke the rules of HTTP."),
    "response_timeouts": _worker("response_timeouts", "counter", "HTTP requests whose response did not come in time."),
    "connections_reused": _worker("connections_reused", "counter", "HTTP requests that reused a connection to a backend."),
    "connections_kept": _worker("connections_kept", "gauge", "Idle connections to backends, ready to be reused."),
    "connections_stale": _worker(
        "connections_stale", "counter", "Idle connections to backends that turned out closed when a request was to reuse them."
    ),
    "connections_unsolicited": _worker(
        "connections_unsolicited",
        "counter",
        "Connections to backends that were closed because of bytes that no request had asked for.",
    ),
    "replays": _worker(
        "replays",
        "counter",
        "HTTP requests sent again because a reused connection was stale, or a fresh one ended before a response.",
    ),
    "upgrades": _worker("upgrades", "counter", "HTTP connections that went over to another protocol, such as WebSocket."),
    "routes_refused": _worker("routes_refused", "counter", "Times that new routes could not be taken: out of memory."),
    "decisions": _worker("decisions", "counter", "Backends picked."),
    "datagrams_in": _worker("datagrams_in", "counter", "Datagrams from clients to backends."),
    "datagrams_out": _worker("datagrams_out", "counter", "Datagrams from backends to clients."),
    "datagrams_dropped": _worker(
        "datagrams_dropped", "counter", "Datagrams lost here: no session was left, no backend, or a full socket."
    ),
    "refused_preread": _worker(
        "refused_preread", "counter", "Refused: no PROXY header or ClientHello came in time, or a bad one did."
    ),
    "refused_handshake": _worker("refused_handshake", "counter", "Refused: the TLS handshake failed."),
    "handshakes": _worker("handshakes", "counter", "TLS handshakes with clients that succeeded."),
    "handshakes_resumed": _worker(
        "handshakes_resumed", "counter", "TLS handshakes with clients that resumed a session by a ticket."
    ),
    "handshakes_active": _worker("handshakes_active", "gauge", "TLS handshakes with clients that are under way or wait."),
    "backend_handshakes": _worker("backend_handshakes", "counter", "TLS handshakes with backends that succeeded."),
    "backend_handshakes_resumed": _worker(
        "backend_handshakes_resumed", "counter", "TLS handshakes with backends that resumed a session by a ticket."
    ),
    "backend_handshakes_failed": _worker("backend_handshakes_failed", "counter", "TLS handshakes with backends that failed."),
    "tls_refused": _worker(
        "tls_refused", "counter", "Times that new certificates or TLS rules could not be taken: out of memory."
    ),
    "records": _worker("records", "counter", "Endings recorded for the access log and for traces."),
}
"""The family of each counter in csrc/layout/figures.h, by the counter's name."""

WORKER = (
    *COUNTED.values(),
    _worker(
        "forwards",
        "gauge",
        "1 while the kernel forwards for the worker, as was asked; 0: its program could not be loaded. Absent if not asked.",
    ),
    Family(
        "worker_http2_resets",
        "counter",
        ("worker", "by", "code"),
        "HTTP/2 streams that were reset: by a client, by lbcore towards a client (to_client), by a backend, or towards a"
        " backend (to_backend), and the code of RST_STREAM.",
    ),
    _worker("rings", "gauge", "1 where io_uring serves the worker's sockets, 0 where epoll does; the status says why."),
    _worker("hangs", "gauge", "1 while the worker's event loop does not respond; the worker is replaced after worker_timeout."),
    _worker("cpu_seconds", "counter", "CPU time of the worker, earlier processes included; absent where workers are threads."),
    _worker("memory_bytes", "gauge", "Resident memory of the worker's process; absent where workers are threads."),
)

TABLES: dict[str, tuple[Family, ...]] = {
    "The balancer and its control plane": INSTANCE,
    "The cluster, where there is one": CLUSTER,
    "Listeners": LISTENER,
    "Pools, and models that routes name": (*POOL, *MODEL),
    "Map files of routes": MAP,
    "Sources of backends": SOURCE,
    "Metrics of backends that are read": SCRAPE,
    "Backends": BACKEND,
    "Workers": WORKER,
    "Access log and traces": LOG,
}
