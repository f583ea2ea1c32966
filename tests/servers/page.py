"""The page of servers: figures from the JSON file, and nothing measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servers.advice import ADVICE, NONE
from servers.fronts import FRONTS
from servers.kinds import KINDS
from servers.measurements import AT_ONCE, SHORT_IDLE_S

if TYPE_CHECKING:
    from collections.abc import Callable

Record = dict[str, Any]
Document = dict[str, Any]

INTRODUCTION = """\
# Python servers behind lbcore

`tools/servers` runs these servers with their defaults, on one machine, behind lbcore, nginx and HAProxy, and writes
this page. It does not run in CI; `tests/l7/test_servers.py` repeats the measurements there, behind lbcore, with uvicorn,
gunicorn, granian and hypercorn.

{when}

**Nothing has to be set for lbcore.** It keeps an idle backend connection for a second (`backend_idle_timeout`), which is
less than any of these servers that keeps one at all, or shorter where it sees the server close earlier
([how](http.md#keep-alive-connections-to-backends)). Where connects are dear and requests come seldom, set the server to
close idle connections after 65 s and lbcore's pool to `backend_idle_timeout = "60s"`. lbcore's time must be the shorter
one: the side that sends requests must be the side that closes.

**Drain before you stop.** Run `lbcore backend drain HOST:PORT` before SIGTERM, or start the server by `lbcore register --
COMMAND`, which waits for the drain when it gets SIGTERM ([registration](health.md#registration)). Then no request is on
its way to a server that stops, whatever the server does. The tables below show what happens without a drain.

Headers that these servers believe about the client: [Headers of clients and proxies](headers.md)."""

SETTINGS = """\
## What to set

"Idle close" is when the server closes a connection on which it answered once; nothing was announced (`Keep-Alive:
timeout`) by any of them. "Never" means not within the time of the measurement. The two last columns are advice, from the
servers' own documentation and from what they were seen to do."""

STOPPING = """\
## SIGTERM of one of two servers under load

50 requests a second, half of them POSTs; one of two servers gets SIGTERM. Requests that got no 200, of about
{load}, in {times} such runs for each balancer. A balancer sends a GET again where it may; a POST that has reached a
server that then drops it is lost, and none of the three sends it twice; so is one that a server is working on when it
exits at once. "Exit" is when the server's first process had
ended, the slowest of all runs; "later" is after the end of the load."""

RECYCLING = """\
## Recycling

Two servers of two processes each. A process ends after so many requests that each is replaced about twice; the load is
the same. Requests that got no 200. "Processes" is how many gave a response, at least, behind each balancer. Servers that
are missing here have no such option."""

AT_IDLE = """\
## POST at the time of the idle close

{count} connections are left idle, and as many POSTs come within 0.1 s of the moment when the server closes them,
{rounds} times. Failed POSTs. Servers that keep connections for more than {short:.0f} s, or keep none, are left out."""

EARLY = """\
## Early responses

The application answers 413 or 200 at once and does not read the 10 MB that the client sends; the client reads when it
has sent all, or can send no more. Responses of the application that reached the client. "Direct" is without a balancer."""

HEAD = """\
## HEAD

The application sends a body of two parts, also behind HEAD. Some servers pass it on, which RFC 9110 forbids: "bytes
behind HEAD", without a balancer. Behind a balancer another client's requests follow. The table counts those that did not
get their own response; none is sent behind one that did not."""

SOCKETS = """\
## WebSocket at SIGTERM

What an open WebSocket gets, and after how many seconds: the status of the close frame, the connection's end without one
(FIN), a reset, or nothing for as long as it was watched. Servers that are missing here do not speak WebSocket, or not
with these packages."""

ABSENT = """\
## Not measured

Servers that could not be installed or started, and measurements that went wrong, with their reasons."""

CONFIGURATIONS = """\
## How all were started

The servers, with the application of `tests/servers/apps.py`; the options of a measurement, such as those for recycling,
are in `tests/servers/kinds.py`."""

BALANCERS = """\
The balancers, each with one worker, and connections to backends that are kept. A and B are the two servers."""


def render(document: Document) -> str:
    """The page as Markdown."""
    records: dict[str, Record] = {name: document["servers"][name] for name in KINDS if name in document["servers"]}
    fronts = [name for name in FRONTS if name in document["configurations"]]
    parts = [
        INTRODUCTION.format(when=_when(document, records)),
        SETTINGS,
        _settings(records),
        STOPPING.format(**_runs(records)),
        _table(records, "stopping", fronts, _failed, ("exit", _exit)),
        _sum(records, "stopping", fronts),
        RECYCLING,
        _table(records, "recycling", fronts, _failed, ("processes", _processes)),
        _sum(records, "recycling", fronts),
        AT_IDLE.format(count=AT_ONCE, rounds=_rounds(records), short=SHORT_IDLE_S),
        _table(records, "at_idle", fronts, lambda seen: _bold(seen["POST"])),
        EARLY,
        _table(records, "early", ["direct", *fronts], _delivered),
        HEAD,
        _table(records, "head", fronts, _mixed_up, ("bytes behind HEAD", _behind)),
        SOCKETS,
        _table(records, "websocket", ["direct", *fronts], _end),
        *_absent(document, records),
        CONFIGURATIONS,
        _commands(records),
        BALANCERS,
        *(f"{name}:\n\n```\n{document['configurations'][name].rstrip()}\n```" for name in fronts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _when(document: Document, records: dict[str, Record]) -> str:
    dates = sorted({record["measured"] for record in records.values()})
    versions = sorted({f"{name} {version}" for record in records.values() for name, version in record["fronts"].items()})
    return f"Measured {' and '.join(dates)} with {', '.join(versions)}, on {document['machine']}."


def _runs(records: dict[str, Record]) -> dict[str, int]:
    """Of SIGTERM under load: requests behind a balancer, and runs."""
    seen = [seen for record in records.values() for seen in record.get("stopping", {}).values()]
    asked = sorted(one["asked"] for one in seen)
    return {"load": asked[len(asked) // 2] if asked else 0, "times": max((len(one["exits_s"]) for one in seen), default=0)}


def _rounds(records: dict[str, Record]) -> int:
    counts = [seen["asked"] // AT_ONCE for record in records.values() for seen in record.get("at_idle", {}).values()]
    return max(counts, default=0)


# --- tables ----------------------------------------------------------------------------------------------------------


def _rows(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _settings(records: dict[str, Record]) -> str:
    rows = []
    for name, record in records.items():
        advice = ADVICE.get(name, NONE)
        rows.append([f"**{name}** {_versions(name, record)}", _idle(record), advice.keep, advice.stop])
    return _rows(["server", "idle close", "for longer idle connections", "for its stop, and recycling"], rows)


def _versions(name: str, record: Record) -> str:
    """The server's own, then those of the packages that came with it."""
    versions = dict(record["versions"])
    own = versions.pop(KINDS[name].packages[0].partition("==")[0], "?")
    return own + (f" ({', '.join(' '.join(entry) for entry in sorted(versions.items()))})" if versions else "")


def _idle(record: Record) -> str:
    if "idle_s" not in record:
        return "?"
    if record["idle_s"] is None:
        return f"never ({record['idle_watched_s']:g} s)"
    return f"{record['idle_s']:g} s" if record["idle_s"] > 0 else "at once"


def _table(
    records: dict[str, Record],
    part: str,
    columns: list[str],
    cell: Callable[[Record], str],
    more: tuple[str, Callable[[Record], str]] | None = None,
) -> str:
    """One row a server that has this part, one column a front; and one more column of the whole record."""
    rows = [
        [name, *([more[1](record)] if more else []), *(cell(record[part][at]) if at in record[part] else "?" for at in columns)]
        for name, record in records.items()
        if record.get(part)
    ]
    head = ["server", *([more[0]] if more else []), *columns]
    return _rows(head, rows) if rows else "No server that was measured takes part in this."


def _bold(count: int) -> str:
    return f"**{count}**" if count else "0"


def _failed(seen: Record) -> str:
    return f"{_bold(seen['GET'])} GET, {_bold(seen['POST'])} POST"


def _sum(records: dict[str, Record], part: str, fronts: list[str]) -> str:
    """A sentence of all servers together."""

    def of(at: str) -> str:
        seen = [record[part][at] for record in records.values() if at in record.get(part, {})]
        get, post, asked = (sum(one[name] for one in seen) for name in ("GET", "POST", "asked"))
        return f"{at} {get} GET and {post} POST of {asked:,} requests"

    return f"All servers together: {'; '.join(map(of, fronts))}."


def _exit(record: Record) -> str:
    times = [exit_s for seen in record["stopping"].values() for exit_s in seen["exits_s"]]
    return "later" if None in times else f"{max(times):g} s"


def _processes(record: Record) -> str:
    return str(min(seen["processes"] for seen in record["recycling"].values()))


def _delivered(seen: Record) -> str:
    return f"{seen['delivered']} of {seen['asked']}{_instead(seen)}"


def _mixed_up(seen: Record) -> str:
    return f"{seen['wrong']} of {seen['asked']}{_instead(seen)}"


def _instead(seen: Record) -> str:
    found = ", ".join(f"{count} {what}" for what, count in sorted(seen["instead"].items()))
    return f" (**{found}**)" if found else ""


def _behind(record: Record) -> str:
    return str(record.get("body_behind_head", "?"))


def _end(seen: Record) -> str:
    return f"{seen['end']}, {seen['after_s']:g} s"


def _absent(document: Document, records: dict[str, Record]) -> list[str]:
    reasons = [f"- **{name}**: not installed: {reason}" for name, reason in sorted(document["absent"].items())]
    for name, record in records.items():
        reasons += [f"- **{name}**, {what}: {_one_line(reason)}" for what, reason in sorted(record["failed"].items())]
    return [ABSENT, "\n".join(reasons)] if reasons else []


def _commands(records: dict[str, Record]) -> str:
    """One line a server, as for a shell."""
    return "\n".join(["```", *(record["command"] for record in records.values()), "```"])


def _one_line(reason: str) -> str:
    """Fit for a page: its words, without marks that Markdown would take for its own."""
    return "`" + " ".join(reason.split()).replace("`", "'")[:200] + "`"
