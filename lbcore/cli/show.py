"""lbcore status: the status document as tables, read from shared memory."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from lbcore.cli.colours import COLOURS
from lbcore.control import runtime
from lbcore.engine.segment import Segment
from lbcore.errors import LbcoreError
from lbcore.observe.status import document

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(name: str, as_json: bool) -> int:
    """Print the status of a running balancer, or of workers that its crash left. Raises NotRunning or OSError."""
    with Segment.attach(runtime.segment_of(name)) as segment:
        status = document(segment)
    left = bool(runtime.orphans(name))
    word = {} if left else runtime.find(name)
    status["admin"] = word.get("admin")
    _add_sources(status, word)
    if as_json:
        print(json.dumps(status | ({} if left else _of_cluster(name)), indent=2))
    else:
        _print(status, left)
    return 0


def _of_cluster(name: str) -> dict[str, Any]:
    """What only the control plane knows; nothing while it hangs."""
    from lbcore.cli.contact import of_balancer

    try:
        found = of_balancer(name)
    except LbcoreError:
        return {"cluster": None}
    return {"cluster": found} if found else {}


def backends(name: str, pool: str | None, as_json: bool) -> int:
    """Print the backends of a balancer, or of one of its pools. Raises NotRunning, LbcoreError or OSError."""
    with Segment.attach(runtime.segment_of(name)) as segment:
        pools = document(segment)["pools"]
    if pool is not None and pool not in [entry["name"] for entry in pools]:
        raise LbcoreError(f"pool: {pool!r} is unknown (known: {', '.join(entry['name'] for entry in pools)})")
    wanted = [entry for entry in pools if pool in (None, entry["name"])]
    if as_json:
        print(json.dumps([{"pool": entry["name"], **row} for entry in wanted for row in entry["backends"]], indent=2))
    else:
        _print_backends({"pools": wanted})
    return 0


def _print(status: dict[str, Any], left: bool = False) -> None:
    """left: by a control plane that is gone."""
    state = "draining" if status["draining"] else "serving"
    if left:
        state = "no control plane, its workers go on with the last table; serving"
    print(
        f"{status['name']}: {state} for {status['uptime_s']:.0f} s, pid {status['pid']}, lbcore {status['version']}, "
        f"datapath {status['datapath']}, loop {status['loop']} ({status['loop_reason']}), admin {status['admin'] or 'off'}"
    )
    _print_listeners(status)
    _print_backends(status)
    _print_sources(status)
    _print_latency(status)
    _print_impatient(status)
    _print_limited(status)
    _print_workers(status)
    _print_without_offload(status)


def _print_listeners(status: dict[str, Any]) -> None:
    table(
        ("listener", "address", "pool", "certificate until"),
        [
            (
                entry["name"],
                f"{entry['mode']}://{entry['address']}",
                entry["pool"] or "(routes)",
                entry["certificate_expires"] or "",
            )
            for entry in status["listeners"]
        ],
    )


def _print_backends(status: dict[str, Any]) -> None:
    table(
        ("pool", "policy", "backend", "state", "weight", "active", "sessions", "failures", "ms", "source", "reason"),
        [_backend_row(pool, backend) for pool in status["pools"] for backend in pool["backends"] or [None]],
    )


def _add_sources(status: dict[str, Any], word: dict[str, Any]) -> None:
    """How the pools' sources are doing; null while the control plane does not tell."""
    if not word.get("sources"):
        return
    from lbcore.cli.contact import sources

    told = sources(word)
    for pool in status["pools"]:
        pool["sources"] = None if told is None else told.get(pool["name"], [])


def _print_sources(status: dict[str, Any]) -> None:
    if any(pool.get("sources", ()) is None for pool in status["pools"]):
        print("\nsources of backends: the control plane does not respond, so nothing is known of them")
        return
    rows = [(pool["name"], *_source_row(source)) for pool in status["pools"] for source in pool.get("sources", ())]
    if rows:
        table(("pool", "source", "follows", "state", "heard s ago", "revision", "entries", "skipped", "failures"), rows)
    for pool in status["pools"]:
        for source in pool.get("sources", ()):
            if source["trouble"]:
                print(f"\n{pool['name']}: {source['kind']} {source['what']} is {source['state']}: {source['trouble']}")


def _source_row(source: dict[str, Any]) -> tuple[object, ...]:
    told = (source["kind"], source["what"], source["state"], source["last_contact_s"], source["revision"])
    counted = (source["entries"], source["skipped"], source["failures"])
    return tuple("" if value is None else value for value in (*told, *counted))


def _print_workers(status: dict[str, Any]) -> None:
    columns = ("accepted", "active", "closed", "refused", "bytes_in", "bytes_out")
    table(
        ("worker", "pid", "cpu s", "MiB", *columns),
        [
            (
                f"{worker['id']} hangs" if worker["hangs"] else worker["id"],
                worker["pid"],
                *_process(worker["pid"]),
                *(worker[column] for column in columns),
            )
            for worker in status["workers"]
        ],
    )


def _print_without_offload(status: dict[str, Any]) -> None:
    """Workers for which the kernel was to forward, and does not."""
    for worker in status["workers"]:
        if worker["forwards"] is False:
            print(f"\nworker {worker['id']} (pid {worker['pid']}): the kernel forwards nothing for it: its program", end="")
            print(" could not be loaded, its line on stderr says why. Its sessions go the worker's own way.")


def _print_latency(status: dict[str, Any]) -> None:
    """How long responses took (connects, where there are none), of pools that served anybody."""
    keys = ("of", "count", "p50_ms", "p99_ms", "p999_ms")
    served = [pool for pool in status["pools"] if pool["latency"]["count"]]
    if served:
        rows = [(pool["name"], *(pool["latency"][key] for key in keys)) for pool in served]
        table(("pool", "latency of", "count", "p50 ms", "p99 ms", "p99.9 ms"), rows)


def _print_impatient(status: dict[str, Any]) -> None:
    """Backends that were seen to close a kept connection before lbcore did: their keep-alive is too short for what it knew."""
    for pool in status["pools"]:
        for backend in pool["backends"]:
            seen_s = backend["closes_idle_after_s"]
            if seen_s is not None:
                print(
                    f"\n{pool['name']}: {backend['address']} closes idle connections after {seen_s:g} s: keep-alive too short;",
                    end="",
                )
                print(" lbcore now closes them sooner. Raise it there (uvicorn --timeout-keep-alive, gunicorn --keep-alive).")


def _print_limited(status: dict[str, Any]) -> None:
    """Listeners whose limits per client address were met."""
    for listener in status["listeners"]:
        count = listener["tally"]["limited"]
        if count:
            print(f"\n{listener['name']}: {count} connections and requests refused by the limits per client address")


def _process(pid: int) -> tuple[str, str]:
    """CPU seconds and private MiB of a process, as far as they can be read."""
    import psutil

    try:
        process = psutil.Process(pid)
        times, memory = process.cpu_times(), process.memory_full_info()
    except psutil.Error:
        return "?", "?"
    return f"{times.user + times.system:.1f}", f"{memory.uss / (1 << 20):.1f}"


def _backend_row(pool: dict[str, Any], backend: dict[str, Any] | None) -> tuple[object, ...]:
    if backend is None:
        return (pool["name"], pool["policy"], "(none)", *[""] * 8)
    keys = ("active", "sessions", "failures", "latency_ms", "source")
    share, left_s = backend["share"], backend["leaves_in_s"]
    weight = f"{backend['weight']} ({share:.0%})" if share < 1 else backend["weight"]
    weight = f"{weight} backup" if backend["tier"] else weight
    reason = backend["reason"] + (f", {left_s:g} s left" if left_s else "")
    names = (pool["name"], pool["policy"], backend["address"], backend["state"], weight)
    return (*names, *(backend[key] for key in keys), reason)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table: rich on a terminal, aligned plain text elsewhere."""
    print()
    if sys.stdout.isatty():
        _rich_table(head, rows)
        return
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


_WHOLE = ("address", "backend", "listener", "pool", "pid")


def _widest(rows: Sequence[Sequence[object]], at: int) -> int:
    return max((len(str(row[at])) for row in rows), default=1)


def _rich_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for at, title in enumerate(head):
        whole = title in _WHOLE  # never shortened, however narrow the terminal: it is what one copies
        drawn.add_column(
            title, no_wrap=whole, overflow="ignore" if whole else "fold", min_width=_widest(rows, at) if whole else None
        )
    for row in rows:
        drawn.add_row(*(Text(str(cell), style=COLOURS.get(str(cell), "")) for cell in row))
    Console().print(drawn)
