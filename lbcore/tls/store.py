"""What is in force of TLS: a bundle a listener that ends it, one a pool that speaks it; made of files that are watched.

What is broken never comes into force: at the start and at a reload it is an error, later the old stays and the log says why.
"""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

from lbcore.engine.segment import date_text
from lbcore.errors import ConfigError
from lbcore.tls import files
from lbcore.tls.bundle import LISTENER, MOST_BYTES, POOL, Certificate, pack_listener, pack_pool
from lbcore.tls.stand_in import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings
    from lbcore.tls.library import Library


class Shown(NamedTuple):
    """The files of a certificate. option: how the names of its options begin: "certificate[0]." or "tls_". names: an authority
    issues it for these; until then another one stands in."""

    option: str
    cert: str
    key: str | None
    ocsp: str | None
    names: tuple[str, ...] = ()

    @property
    def stands_in(self) -> bool:
        """Has none been issued yet?"""
        return bool(self.names) and not os.path.exists(self.cert)


class Bundle(NamedTuple):
    """A bundle that passed all checks.

    wanted: what it was made of. stamp: of these files, from before they were read. data: as a worker reads it. names: in DNS,
    of all its certificates. expires_s: Unix time, when the first of these does; 0: it has none.
    """

    wanted: Wanted
    stamp: files.Stamp
    data: bytes
    names: list[str]
    expires_s: int


_OF_CERTIFICATE = re.compile(r"certificate (\d+): (.*)", re.DOTALL)


class Wanted:
    """A bundle that the settings ask for: of which listener or pool, and of which files."""

    def __init__(self, kind: int, settings: ListenerSettings | PoolSettings, shown: list[Shown], trusted: str | None) -> None:
        """trusted: the file of the CAs, if one is named."""
        self.kind: int = kind
        self.settings: ListenerSettings | PoolSettings = settings
        self.shown: list[Shown] = shown
        self.trusted: str | None = trusted
        self.key: tuple[int, str] = kind, str(settings.name)
        self.where: str = f"{'listener' if kind == LISTENER else 'pool'} {settings.name}"

    @property
    def files(self) -> list[str]:
        """All files that it is made of."""
        return [path for entry in self.shown for path in (entry.cert, entry.key, entry.ocsp) if path] + (
            [self.trusted] if self.trusted else []
        )

    def packed(self, library: str) -> bytes:
        """Read the files and pack them. Raises ConfigError with the first fault of each."""
        problems: list[str] = []

        def of(option: str, read: Callable[[str], bytes], path: str | None) -> bytes:
            try:
                return read(path) if path else b""
            except files.FileFault as fault:
                problems.append(f"{self.where}: {option}: {fault}")
                return b""

        certificates = [
            Certificate(*stand_in(entry.names), b"")
            if entry.stands_in
            else Certificate(
                of(f"{entry.option}cert", files.certificates, entry.cert),
                of(f"{entry.option}key" if entry.key else f"{entry.option}cert", files.key, entry.key or entry.cert),
                of(f"{entry.option}ocsp", files.response, entry.ocsp),
            )
            for entry in self.shown
        ]
        trusted = of("client_ca" if self.kind == LISTENER else "tls_ca", files.certificates, self.trusted)
        if problems:
            raise ConfigError(dict.fromkeys(problems))
        pack: Callable[..., bytes] = pack_listener if self.kind == LISTENER else pack_pool
        data = pack(self.settings, certificates, trusted, library)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{self.where}: its certificates take {len(data)} bytes (allowed: at most {MOST_BYTES})")
        return data

    def said_of(self, fault: str) -> str:
        """What the engine says of a bundle, as a line that names the file."""
        found = _OF_CERTIFICATE.fullmatch(fault)
        if found and 1 <= int(found[1]) <= len(self.shown):
            entry = self.shown[int(found[1]) - 1]
            return f"{self.where}: {entry.option}cert: {entry.cert!r}: {found[2]}"
        named = f" ({', '.join(map(repr, dict.fromkeys(self.files)))})" if self.files else ""
        return f"{self.where}: {fault}{named}"


def wanted_by(settings: BalancerSettings) -> list[Wanted]:
    """The bundles that these settings ask for."""
    found = []
    for listener in settings.listeners:
        if listener.terminates:
            shown = [
                Shown(f"certificate[{at}].", entry.cert or entry.issued or "", entry.key, entry.ocsp, tuple(entry.acme or ()))
                for at, entry in enumerate(listener.certificates)
            ]
            found.append(Wanted(LISTENER, listener, shown, listener.client_ca))
    for pool in settings.pools:
        if pool.tls:
            own = [Shown("tls_", pool.tls_cert, pool.tls_key, None)] if pool.tls_cert else []
            found.append(Wanted(POOL, pool, own, pool.tls_ca))
    return found


class Store:
    """Reads bundles, checks them, keeps those in force. The lock of its owner guards it.

    check: what a bundle's certificates are for, and when they expire; raises ValueError. find: the libssl. Both default to the
    engine's. log: called with one line. clock: Unix seconds.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        *,
        check: Callable[[bytes], list[tuple[list[str], int]]] | None = None,
        find: Callable[[], Library] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._check, self._find, self._clock = log, check, find, clock
        self._library = ""
        self._seen: dict[tuple[int, str], files.Stamp] = {}
        self.bundles: dict[tuple[int, str], Bundle] = {}

    def expires_s(self, listener: str) -> int:
        """When the first of a listener's certificates expires, Unix time; 0: it has none."""
        bundle = self.bundles.get((LISTENER, listener))
        return bundle.expires_s if bundle else 0

    def read(self, settings: BalancerSettings) -> dict[tuple[int, str], Bundle]:
        """The bundles that settings ask for, of the files as they are now. Raises ConfigError with all that is wrong."""
        wanted = wanted_by(settings)
        if wanted and not self._library:
            from lbcore.tls import library

            self._library = (self._find or library.find)().path
        made: dict[tuple[int, str], Bundle] = {}
        problems: list[str] = []
        for entry in wanted:
            try:
                made[entry.key] = self._made(entry)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return made

    def adopt(self, bundles: dict[tuple[int, str], Bundle]) -> None:
        """Put into force what `read` returned."""
        self.bundles = dict(bundles)
        self._seen = {key: bundle.stamp for key, bundle in bundles.items()}

    def look(self) -> bool:
        """See whether files have changed, and put the changes into force that are good. Is anything new in force?"""
        fresh = [key for key, bundle in self.bundles.items() if self._follow(key, bundle)]
        return bool(fresh)

    def _follow(self, key: tuple[int, str], old: Bundle) -> bool:
        now = files.stamp(old.wanted.files)
        if now == self._seen[key]:
            return False
        self._seen[key] = now
        try:
            fresh = self._made(old.wanted)
        except ConfigError as error:
            for problem in error.problems:
                self._log(f"{problem}; what was read before stays in force")
            return False
        if fresh.data == old.data:
            return False
        self.bundles[key] = fresh
        until = f": {', '.join(fresh.names) or 'no names'}, until {date_text(fresh.expires_s)}" if fresh.expires_s else ""
        self._log(f"{old.wanted.where}: its files have changed and are in force{until}")
        return True

    def _made(self, wanted: Wanted) -> Bundle:
        """Raises ConfigError. What has expired is no error: it may be what there is."""
        if self._check is None:
            from lbcore._engine import tls_check

            self._check = tls_check
        before = files.stamp(wanted.files)
        data = wanted.packed(self._library)
        try:
            found = self._check(data)
        except (ValueError, OSError) as error:
            raise ConfigError(wanted.said_of(str(error))) from None
        for entry, (_, expires_s) in zip(wanted.shown, found, strict=False):
            if expires_s <= self._clock():
                self._log(f"{wanted.where}: {entry.option}cert: {entry.cert!r} has expired on {date_text(expires_s)}")
        names = list(dict.fromkeys(name for names, _ in found for name in names))
        return Bundle(wanted, before, data, names, min((expires_s for _, expires_s in found), default=0))
