"""What may happen to a session: how much each side sends, in which pieces, with which pauses, and how it leaves."""

from __future__ import annotations

from collections import namedtuple
from itertools import product
from operator import add

from hypothesis import strategies as st

ENDS = ("finish", "wait", "close", "reset")
"""finish: says that it has finished (FIN, close_notify) once all is sent, and reads on. wait: does so once the other has ended.
close: closes once all is sent, whatever is unread. reset: likewise with a reset."""
PROPER = ("finish", "wait")
CLOSE_ORDERS = [pair for pair in product(ENDS, ENDS) if pair != ("wait", "wait")]
"""(client, backend)."""

Script = namedtuple("Script", "writes end early stall_ms buffer segment gulp", defaults=(0, 0, 0, 0, 0))
Script.__doc__ = """What one side does.

writes: (bytes, pause before them in ms). end: of ENDS. early: bytes that go with the greeting. stall_ms: how long it reads
nothing at first. buffer: its socket's receive buffer; 0: as the kernel has it. segment: the most bytes that it takes in one
TCP segment; 0: loopback's 64 KiB. gulp: bytes that it reads each millisecond; 0: all that it can."""

Meeting = namedtuple("Meeting", "client backend")
Meeting.__doc__ = "A session's two scripts."

EDGES = (1, 7, 1448, 16_384, 16_385, 65_535, 65_536, 65_537, 131_073, 262_144, 1_048_577)
"""Sizes about which something turns: a segment, a TLS record, the scratch buffer, a turn of the loop."""


def proper(meeting: Meeting) -> bool:
    """Do both sides say what they have to say to the end?"""
    return meeting.client.end in PROPER and meeting.backend.end in PROPER


def total(script: Script) -> int:
    """How many bytes it sends."""
    return script.early + sum(size for size, _ in script.writes)


def simple(end: str, size: int) -> Script:
    """One write, and the end."""
    return Script(((size, 0),) if size else (), end)


sizes = st.one_of(st.integers(1, 300), st.integers(1, 200_000), st.sampled_from(EDGES))
pauses = st.sampled_from((0, 0, 0, 1, 4))
chatter = st.sampled_from(((), (), ((20, 1),) * 12))
"""Small messages at first: some datapaths take a session only once it has proven not to be a short one."""


def scripts(end: str) -> st.SearchStrategy[Script]:
    """Those that end so."""
    return st.builds(
        Script,
        writes=st.builds(add, chatter, st.lists(st.tuples(sizes, pauses), max_size=6).map(tuple)),
        end=st.just(end),
        early=st.sampled_from((0, 0, 1, 1000)),
        stall_ms=st.sampled_from((0, 0, 5, 25)),
        buffer=st.sampled_from((0, 0, 30_000, 1 << 17)),  # with less, TCP itself crawls from probe to probe
        segment=st.sampled_from((0, 536, 1448)),
        gulp=st.sampled_from((0, 0, 20_000)),
    )


meetings = st.sampled_from(CLOSE_ORDERS).flatmap(lambda ends: st.builds(Meeting, scripts(ends[0]), scripts(ends[1])))
plays = st.lists(meetings, min_size=1, max_size=3)
"""Sessions that are open at the same time."""
