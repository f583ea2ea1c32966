"""A file that names backends: a line each, "HOST:PORT" or "HOST:PORT weight=N backup", or JSON; followed as it changes."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from lbcore.config.settings import is_unix, join_host_port, parse_address
from lbcore.discovery.found import MOST_ENTRIES, Answer, Found, SourceFailed
from lbcore.discovery.standing import LATE_S, Standing
from lbcore.log_once import LogOnce
from lbcore.regular_file import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.discovery.found import Publish

MAX_BYTES = 1 << 20


class _Stamp(NamedTuple):
    """What changes with a file."""

    changed_ns: int
    size: int
    inode: int


class FileSource:
    """Looks at a file each interval. Missing, unreadable or wrong: what it said last stays true, and the fault is told once.

    A file that somebody may still be writing is believed when it looks the same at the next look: one that changed in place, or
    whose last line has no end. A file that was put in the place of another (rename) is believed at once.

    Lines may be empty or begin with "#". A path that ends in .json holds a list of "HOST:PORT" or {"address", "weight"}. Hosts
    are IP addresses. A file without a backend is taken at its word.
    """

    def __init__(self, pool: str, path: str, log: Callable[[str], None], *, interval_s: float = 1.0) -> None:
        self.pool = pool
        self.claim: str = f"file:{path}"
        self.standing: Standing = Standing(pool, "file", path, interval_s + LATE_S)
        self._path = path
        self._interval_s = interval_s
        self._believed: _Stamp | None = None
        self._doubted: _Stamp | None = None
        self._inode = 0
        self._log_once = LogOnce(log, f"pool {pool}: {path}", over="well again")

    async def examine(self) -> Answer:
        """What the file says now. Raises SourceFailed."""
        try:
            return Answer(parse(_read(self._path), is_json=self._path.endswith(".json")), told=True)
        except (OSError, ValueError, RecursionError) as error:
            raise SourceFailed(getattr(error, "strerror", None) or str(error)) from None

    async def run(self, publish: Publish) -> None:
        """Until cancelled."""
        last: list[Found] | None = None
        while True:
            found = self._look()
            if found is not None and found != last:
                publish(found)
                last = found
            await asyncio.sleep(self._interval_s)

    def _look(self) -> list[Found] | None:
        """What the file says, if it says something new that can be believed."""
        now = self._stamp()
        if now is None:
            self._believed = self._doubted = None  # when it is back, it is read, whether it changed or not
            return None
        if now == self._believed:
            self.standing.heard()
            return None
        text = self._read()
        if text is None:
            return None
        put_whole = now.inode != self._inode and _is_whole(text, self._path)
        settled = put_whole or now == self._doubted
        self._doubted = now
        if not settled or self._stamp() != now:
            return None
        self._inode = now.inode
        found = self._parse(text)
        self._believed = now if found is not None else None
        return found

    def _stamp(self) -> _Stamp | None:
        """What changes with the file; None when it cannot be looked at."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return None
        return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

    def _fail(self, fault: str) -> None:
        self.standing.failed(fault)
        self._log_once.tell(fault)

    def _read(self) -> str | None:
        try:
            return _read(self._path)
        except (OSError, ValueError) as error:
            self._fail(f"left as it was: {error}")
            return None

    def _parse(self, text: str) -> list[Found] | None:
        try:
            found = parse(text, is_json=self._path.endswith(".json"))
        except (ValueError, RecursionError) as error:
            self._fail(f"left as it was: {error}")
            return None
        self._log_once.tell("")
        self.standing.heard()
        self.standing.took(len(found))
        return found


def _read(path: str) -> str:
    """The text of a file. Raises OSError or ValueError."""
    return read_regular(path, MAX_BYTES, f"{MAX_BYTES >> 20} MiB").decode()


def _is_whole(text: str, path: str) -> bool:
    """Does its last line have an end? JSON says itself where it ends."""
    return path.endswith(".json") or text.endswith("\n")


def parse(text: str, *, is_json: bool) -> list[Found]:
    """The backends of a file. Raises ValueError naming the line or entry."""
    entries = _entries(text) if is_json else _lines(text)
    found: dict[str, Found] = {}
    for where, address, weight, backup in entries:
        try:
            one = _found(address, weight, backup)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if one.address in found:
            raise ValueError(f"{where}: {one.address} is named twice")
        found[one.address] = one
        if len(found) > MOST_ENTRIES:
            raise ValueError(f"{where}: more than {MOST_ENTRIES} backends")
    return list(found.values())


def _lines(text: str) -> Iterable[tuple[str, Any, Any, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        weight: Any = 1
        for word in words[1:]:
            key, _, value = word.partition("=")
            if word == "backup":
                continue
            if key != "weight" or not (value.isascii() and value.isdigit()):
                raise ValueError(f"line {number}: {word!r} is not allowed (allowed: weight=N, backup)")
            weight = int(value)
        yield f"line {number}", words[0], weight, "backup" in words[1:]


def _entries(text: str) -> Iterable[tuple[str, Any, Any, Any]]:
    document = json.loads(text)
    if not isinstance(document, list):
        raise ValueError('not a list of "HOST:PORT" or {"address", "weight"}')
    for number, entry in enumerate(document):
        if isinstance(entry, dict):
            for key in set(entry) - {"address", "weight", "backup"}:
                raise ValueError(f"entry {number}: {key!r} is unknown (allowed: address, weight, backup)")
            yield f"entry {number}", entry.get("address"), entry.get("weight", 1), entry.get("backup", False)
        else:
            yield f"entry {number}", entry, 1, False


def _found(address: Any, weight: Any, backup: Any) -> Found:
    host, port = parse_address(address)
    if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= 256:
        raise ValueError(f"weight: {weight!r} is not allowed (allowed: a whole number from 0 to 256)")
    if not isinstance(backup, bool):
        raise ValueError(f"backup: {backup!r} is not allowed (allowed: true or false)")
    place = host if is_unix(host) else join_host_port(str(ipaddress.ip_address(host)), port)
    return Found(place, weight, int(backup))
