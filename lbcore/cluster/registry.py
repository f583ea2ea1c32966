"""Who is registered, as the nodes of a cluster agree on it. Pure: what is heard here, what the store says, and time go in; what
is to be written, and moves of our own members, come out.

A backend's entry belongs to the node that heard it when it changed last. Other nodes that hear its heartbeats write nothing of
it, but for one key in which they say which backends of others they hear. An owner that does not hear the backend any more, and
of which no other node says so, offers the entry; a node that hears the backend takes it. A key that is deleted is no word of
anybody: the lease of its node is over, or the store was wiped. A node that hears the backend writes it again.
"""

from __future__ import annotations

from lbcore.cluster.entry import OFFERED, SILENT, STANDS, Entry, Owner, Told
from lbcore.cluster.marks import mark_of
from lbcore.cluster.moves import Drop, Show
from lbcore.cluster.stamp import Stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lbcore.cluster.keys import Backend
    from lbcore.cluster.moves import Move
    from lbcore.cluster.stamp import StampClock

OFFER_S = 3.0
"""So long an offered entry waits for somebody who hears the backend."""
VOUCH_S = 12.0
"""So long it counts that another node hears a backend; nodes say so every 5 s."""
LOOK_S = 1.0
"""So often it is looked whether another node still hears it."""
BACK_S = 5.0
"""So long a node that knows a later word than the store has leaves it to that word's author to write it again."""
LINGER_S = 10.0
"""So long it can be read that a backend has left, until its key goes."""
ASSUMED = Entry(Stamp(1, ""), Owner("", ""), 1, Told())
"""Of a backend that is known from before a restart only: whatever the store says is newer."""


class Seen:
    """What is known of a backend. stored: what the store has, or was asked to have; None: it has no key. since: when what time
    will end began; None: nothing."""

    __slots__ = ("entry", "since", "stored")

    def __init__(self, entry: Entry, stored: Entry | None) -> None:
        self.entry: Entry = entry
        self.stored: Entry | None = stored
        self.since: float | None = None

    @property
    def written(self) -> Stamp | None:
        """The stamp of what is stored."""
        return self.stored and self.stored.stamp


class Registry:
    """me: this node. keep_s: how long a backend stays that nobody writes again. lives: does this owner still hold its lease?

    held: the backends that are heard here. writes: what the store is to be told, None: to delete. moves: what our members are
    to follow. Times are seconds of one clock; now_ms is Unix time, for stamps.
    """

    def __init__(self, me: Owner, clock: StampClock, keep_s: float, lives: Callable[[Owner], bool]) -> None:
        self.me: Owner = me
        self.keep_s: float = keep_s
        self._clock, self._lives = clock, lives
        self.seen: dict[Backend, Seen] = {}
        self.held: dict[Backend, Told] = {}
        self.writes: dict[Backend, Entry | None] = {}
        self.moves: list[Move] = []
        self.connected: bool = False
        self.draining: bool = False
        self._waiting: set[Backend] = set()
        self._overwritten: dict[Backend, float] = {}
        self._vouches: dict[str, tuple[float, frozenset[int]]] = {}
        self._next_drop = self._ticked_at = 0.0

    # --- what is heard here --------------------------------------------------------------------------------------

    def heard(self, backend: Backend, told: Told, now: float, now_ms: int) -> None:
        """It has registered, or says something new, or is heard for the first time here."""
        self.held[backend] = told
        seen = self.seen.get(backend)
        if seen is None or seen.entry.is_over or told.lasting != seen.entry.told.lasting or told.busy_ms:
            self._say(backend, told, STANDS, now_ms)
        self._settle(backend, now, now_ms)
        self.moves.append(Show(backend, told))

    def silent(self, backend: Backend, now: float, now_ms: int) -> None:
        """It is not heard here any more."""
        if self.held.pop(backend, None) is not None:
            self._settle(backend, now, now_ms)

    def foreign(self) -> set[int]:
        """Marks of what is heard here and is another node's."""
        return {mark_of(backend) for backend in self.held if self.seen[backend].entry.owner != self.me}

    def left(self, backend: Backend, reason: str, now: float, now_ms: int) -> None:
        """It said goodbye here, or an operator has removed it: gone for all, whoever hears it."""
        told = self.held.pop(backend, None)
        seen = self.seen.get(backend)
        if seen is None or seen.entry.is_over:
            return
        self._say(backend, told or seen.entry.told, reason, now_ms)
        self._wait(backend, now)
        self.moves.append(Drop(backend, reason))

    def assume(self, backend: Backend, told: Told, now: float) -> None:
        """It is known from before a restart."""
        if backend not in self.seen:
            self.seen[backend] = Seen(ASSUMED._replace(told=told), None)
            self._wait(backend, now)
            self.moves.append(Show(backend, told))

    def show_all(self) -> None:
        """Our pools are others now."""
        self.moves += [Show(backend, seen.entry.told) for backend, seen in self.seen.items() if not seen.entry.is_over]

    # --- what the store says -------------------------------------------------------------------------------------

    def reread(self, entries: Mapping[Backend, Entry], now: float, now_ms: int) -> None:
        """All that the store has."""
        self.writes.clear()
        self._overwritten.clear()
        for backend in [backend for backend in self.seen if backend not in entries]:
            self.changed(backend, None, now, now_ms)
        for backend, entry in entries.items():
            self.changed(backend, entry, now, now_ms)
        for backend in self._waiting:
            if self.seen[backend].entry.owner == self.me:
                self.seen[backend].since = now  # others have not seen it yet

    def changed(self, backend: Backend, theirs: Entry | None, now: float, now_ms: int) -> None:
        """A key was written, or deleted."""
        seen = self.seen.get(backend)
        if theirs is None:
            if seen is not None:
                seen.stored = None
                self._settle(backend, now, now_ms)
            return
        self._clock.see(theirs.stamp, now_ms)
        if seen is None:
            seen = self.seen[backend] = Seen(theirs, theirs)
            self._take(backend, theirs)
        elif theirs.stamp > seen.entry.stamp:
            was_over, seen.entry = seen.entry.is_over, theirs
            self.writes.pop(backend, None)
            if not (was_over and theirs.is_over):
                self._take(backend, theirs)
        seen.stored = theirs
        if theirs.stamp < seen.entry.stamp and seen.entry.owner != self.me:
            self._overwritten.setdefault(backend, now)
        else:
            self._overwritten.pop(backend, None)
        if theirs.stamp == seen.entry.stamp and theirs != seen.entry and seen.entry.owner == self.me:
            self._say(backend, seen.entry.told, seen.entry.end, now_ms)  # an earlier life of ours, in the same millisecond
        self._settle(backend, now, now_ms)

    def vouched(self, name: str, marks: frozenset[int] | None, now: float) -> None:
        """What another node says that it hears, in a key of this name; None: it says so no more."""
        if marks is None:
            self._vouches.pop(name, None)
        else:
            self._vouches[name] = (now, marks)

    def vouched_anew(self, found: Mapping[str, frozenset[int]], now: float) -> None:
        """All that other nodes say."""
        self._vouches = {name: (now, marks) for name, marks in found.items()}

    def _is_vouched(self, backend: Backend, now: float) -> bool:
        mark = mark_of(backend)
        return any(now - at <= VOUCH_S and mark in marks for at, marks in self._vouches.values())

    def _take(self, backend: Backend, entry: Entry) -> None:
        """Our members follow it."""
        if entry.is_final or (entry.is_over and backend not in self.held):
            self.held.pop(backend, None)
            self.moves.append(Drop(backend, entry.end))
        elif not entry.is_over:
            if backend in self.held:
                self.held[backend] = entry.told
            self.moves.append(Show(backend, entry.told))

    def owners_changed(self, now: float, now_ms: int) -> None:
        """Nodes came or went, or this one is to be drained: is there anything of ours to take, or to offer?"""
        for backend in list(self.held):
            self._settle(backend, now, now_ms)

    def lease_lost(self, now: float, now_ms: int) -> None:
        """Our own lease was over: whatever we wrote is gone, or about to go."""
        for backend, seen in list(self.seen.items()):
            if seen.entry.owner == self.me and seen.written is not None:
                seen.stored = None
                self._settle(backend, now, now_ms)

    # --- the rules -----------------------------------------------------------------------------------------------

    def _settle(self, backend: Backend, now: float, now_ms: int) -> None:
        """What is to be done about a backend, as things are."""
        seen = self.seen[backend]
        if backend in self.held:
            self._rest(backend)
            self._keep(backend, seen, now_ms)
        elif seen.entry.is_over:
            self._see_off(backend, seen, now)
        elif seen.entry.owner == self.me:
            stands = seen.entry.end == STANDS and seen.written is not None
            if not (stands and self._is_vouched(backend, now)) and (seen.entry.end == STANDS or seen.written is None):
                self._say(backend, seen.entry.told, OFFERED, now_ms)
            self._wait(backend, now)
        elif seen.stored is None:
            self._wait(backend, now)
        else:
            self._rest(backend)

    def _keep(self, backend: Backend, seen: Seen, now_ms: int) -> None:
        """It is heard here."""
        entry, told = seen.entry, self.held[backend]
        wanted = OFFERED if self.draining else STANDS
        if entry.owner == self.me:
            if entry.end != wanted:
                self._say(backend, told, STANDS, now_ms)
            elif seen.written != entry.stamp:
                self._write(backend, seen)
        elif self._is_free(seen):
            self._say(backend, told, STANDS, now_ms)

    def _is_free(self, seen: Seen) -> bool:
        """May a node that hears the backend take its entry?"""
        if seen.entry.end == OFFERED and not self.draining:
            return True
        return seen.entry.is_over or seen.written is None or not self._lives(seen.entry.owner)

    def _see_off(self, backend: Backend, seen: Seen, now: float) -> None:
        """It is over, and heard by nobody here."""
        mine = seen.entry.owner == self.me
        if mine and seen.written is not None and seen.written != seen.entry.stamp:
            self._write(backend, seen)  # the store went back to before
        elif seen.written is None and self.connected:
            self._forget(backend)
            return
        self._wait(backend, now)

    def _say(self, backend: Backend, told: Told, end: str, now_ms: int) -> None:
        """A new entry, of ours."""
        seen = self.seen.get(backend)
        known = seen.entry if seen else None
        generation = known.generation + known.is_over if known else 1
        end = OFFERED if end == STANDS and self.draining else end
        entry = Entry(self._clock.next(now_ms, known.stamp if known else Stamp(0, "")), self.me, generation, told, end)
        if seen is None:
            seen = self.seen[backend] = Seen(entry, None)
        seen.entry = entry
        self._write(backend, seen)

    def _write(self, backend: Backend, seen: Seen) -> None:
        self.writes[backend] = seen.entry
        seen.stored = seen.entry
        self._overwritten.pop(backend, None)

    def _wait(self, backend: Backend, now: float) -> None:
        seen = self.seen[backend]
        if seen.since is None:
            seen.since = now
        self._waiting.add(backend)

    def _rest(self, backend: Backend) -> None:
        self.seen[backend].since = None
        self._waiting.discard(backend)

    def _forget(self, backend: Backend) -> None:
        del self.seen[backend]
        self._overwritten.pop(backend, None)
        self._waiting.discard(backend)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float, now_ms: int) -> None:
        """What time alone ends. To be called a few times a second."""
        self._stop_clock(now)
        orphans = []
        for backend in list(self._waiting):
            seen = self.seen[backend]
            since = now if seen.since is None else seen.since
            waited_s = now - since
            if seen.entry.is_over:
                self._end_linger(backend, seen, waited_s)
            elif seen.entry.owner == self.me and seen.entry.end == STANDS:
                if waited_s >= LOOK_S:
                    seen.since = now
                    self._settle(backend, now, now_ms)
            elif seen.entry.owner == self.me:
                if waited_s >= (OFFER_S if self.connected else self.keep_s):
                    self._give_up(backend, seen, now, now_ms)
            elif self.connected:
                orphans.append((since, backend))
        self._drop_orphans(orphans, now)
        if self.connected:
            self._go_back(now, now_ms)

    def _stop_clock(self, now: float) -> None:
        """While the store is away nobody could have written again what is waited for."""
        away_s, self._ticked_at = now - self._ticked_at, now
        for backend in self._waiting if not self.connected else ():
            seen = self.seen[backend]
            if seen.since is not None and seen.entry.owner != self.me:
                seen.since = min(now, seen.since + away_s)

    def _go_back(self, now: float, now_ms: int) -> None:
        """Older words have overwritten later ones, whose author is gone, or has forgotten them: the older ones count."""
        for backend, since in list(self._overwritten.items()):
            if now - since < BACK_S:
                continue
            del self._overwritten[backend]
            seen = self.seen[backend]
            if seen.stored is not None and seen.stored.stamp < seen.entry.stamp and seen.entry.owner != self.me:
                seen.entry = seen.stored
                self._take(backend, seen.entry)
                self._settle(backend, now, now_ms)

    def _end_linger(self, backend: Backend, seen: Seen, waited_s: float) -> None:
        if waited_s < LINGER_S or not self.connected:
            return
        if seen.written is None:
            self._forget(backend)
        elif seen.entry.owner == self.me or not self._lives(seen.entry.owner):
            self.writes[backend] = None
            self._forget(backend)

    def _give_up(self, backend: Backend, seen: Seen, now: float, now_ms: int) -> None:
        """Nobody who hears it has taken it."""
        self._say(backend, seen.entry.told, SILENT, now_ms)
        seen.since = now
        self.moves.append(Drop(backend, SILENT))

    def _drop_orphans(self, orphans: list[tuple[float, Backend]], now: float) -> None:
        """One by one, so that a wiped store takes away nothing at once."""
        due = sorted(orphan for orphan in orphans if now - orphan[0] >= self.keep_s)
        if due and now >= self._next_drop:
            self._next_drop = now + min(1.0, self.keep_s / len(orphans))
            _, backend = due[0]
            self._forget(backend)
            self.moves.append(Drop(backend, SILENT))

    def next_tick(self, now: float) -> float | None:
        """When `tick` has something to do at the earliest; None: never."""
        return now + 0.1 if self._waiting else None
