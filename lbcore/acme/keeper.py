"""The thread that has certificates issued and renewed in time. What an order is made of is order.py's; here is when."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from lbcore.acme.kept import keep, kept
from lbcore.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import AcmeSettings, BalancerSettings

LEFT = 1 / 3
"""Of a certificate's life, when it is renewed."""
JITTER = 0.02
"""Of its life: so much earlier, at most."""
AGAIN_S, MOST_AGAIN_S, PATIENCE_S = 60.0, 6 * 3600.0, 3600.0
"""After a failure, doubled each time; at most; and at least where the authority limits us."""
LOOK_S = 600.0
HASTE_S = 0.2
"""Workers have the proofs so long before the authority looks."""


class Keeper:
    """Certificates of the settings, and when each is due. show: as of `order.issue`. Reads the clock of the wall."""

    def __init__(self, settings: AcmeSettings, show: Callable[[dict[str, str]], None], log: Callable[[str], None]) -> None:
        self._settings, self._show, self._log = settings, show, log
        self._kept: dict[str, _Kept] = {}
        self._thread: threading.Thread | None = None
        self._stopping, self._woken = threading.Event(), threading.Event()

    def follow(self, settings: BalancerSettings) -> None:
        """The certificates that these ask for."""
        wanted = {
            certificate.issued: certificate.acme
            for listener in settings.listeners
            for certificate in listener.certificates
            if certificate.acme and certificate.issued
        }
        before = self._kept
        self._kept = {
            path: before[path] if path in before and before[path].names == names else _Kept(names, path, self._log)
            for path, names in wanted.items()
        }
        self._woken.set()
        if self._kept and self._thread is None:
            self._thread = threading.Thread(target=self._main, name="lbcore-acme", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. A call to the authority that is under way ends by itself."""
        self._stopping.set()
        self._woken.set()
        if self._thread:
            self._thread.join(2)

    def status(self) -> list[dict[str, Any]]:
        """names, state ("issued", or "stand-in" while there is none), expires and renews (Unix seconds, None: unknown), fault
        ("": none). Any thread."""
        return [entry.document() for entry in list(self._kept.values())]

    def _main(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            for entry in list(self._kept.values()):
                if not self._stopping.is_set() and entry.due_at() <= time.time():
                    self._renew(entry)
            next_at = min((entry.due_at() for entry in self._kept.values()), default=time.time() + LOOK_S)
            self._woken.wait(max(0.05, min(LOOK_S, next_at - time.time())))

    def _renew(self, entry: _Kept) -> None:
        from lbcore.acme.account import client_of
        from lbcore.acme.order import is_rate_limited, issue, new_key, words_of

        try:
            key = new_key()
            chain = issue(client_of(self._settings), entry.names, key, self._shown, lambda: not self._stopping.is_set())
            keep(entry.path, key + chain)
        except Exception as error:  # whatever it is, what is in force stays, and it is tried again
            entry.failed(words_of(error), patient=is_rate_limited(error))
        else:
            entry.issued()

    def _shown(self, proofs: dict[str, str]) -> None:
        self._show(proofs)
        if proofs:
            self._stopping.wait(HASTE_S)


class _Kept:
    """A certificate, and how its renewal goes."""

    def __init__(self, names: list[str], path: str, log: Callable[[str], None]) -> None:
        self.names, self.path, self._log = names, path, log
        self._told = LogOnce(log, f"acme: {names[0]}")
        self._failures, self._not_before = 0, 0.0
        self._expires: float | None = None
        self._due = 0.0
        self._look()

    def due_at(self) -> float:
        """When to ask for it."""
        return max(self._due, self._not_before)

    def _look(self) -> None:
        """At the file: whom it is for, and until when."""
        from cryptography import x509

        self._expires, self._due = None, 0.0
        try:
            pem = kept(self.path)
            found = x509.load_pem_x509_certificates(pem or b"")[0]
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            return
        if set(names.get_values_for_type(x509.DNSName)) != set(self.names):
            return
        begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
        self._expires = ends
        self._due = ends - (ends - begins) * (LEFT + random.uniform(0, JITTER))

    def issued(self) -> None:
        """It is there."""
        self._failures, self._not_before = 0, 0.0
        self._look()
        self._told.tell("")
        if self._expires is None:
            self.failed("the certificate that came is not for these names", patient=True)
            return
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self._expires))
        self._log(f"acme: {', '.join(self.names)}: issued, valid until {when} UTC")

    def failed(self, why: str, *, patient: bool) -> None:
        """It is not."""
        wait_s = min(MOST_AGAIN_S, AGAIN_S * 2 ** min(self._failures, 12)) * random.uniform(0.9, 1.1)
        self._failures += 1
        self._not_before = time.time() + max(wait_s, PATIENCE_S if patient else 0)
        self._told.tell(f"not issued: {why}; it is tried again")

    def document(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "state": "stand-in" if self._expires is None else "issued",
            "expires": None if self._expires is None else round(self._expires),
            "renews": round(self.due_at()) or None,
            "fault": self._told.last,
        }
