"""What probes of a kind find."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, namedtuple
from typing import TYPE_CHECKING, Any

from lbcore.config.settings import ProbeSettings
from lbcore.discovery.probe import Asker, ProbeFailed

if TYPE_CHECKING:
    pass


Row = namedtuple("Row", "address host ip port family scope")


def verdicts(address: str, times: int = 1, settings: ProbeSettings | None = None, **probe: Any) -> Counter[str]:
    """What so many probes with these settings say, twenty at a time: "" for good."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ip, _, zone = host.strip("[]").partition("%")
    row = Row(address, host, ip, int(port), family, socket.if_nametoindex(zone) if zone else 0)
    rules = settings or ProbeSettings(**{"timeout": "5s"} | probe)

    async def main() -> Counter[str]:
        asker, said, places = Asker(), Counter[str](), asyncio.Semaphore(20)

        async def one() -> None:
            async with places:
                try:
                    await asker.ask(row, rules)  # type: ignore[arg-type]
                except ProbeFailed as failure:
                    said[str(failure)] += 1
                else:
                    said[""] += 1

        await asyncio.gather(*(one() for _ in range(times)))
        await asker.close()
        return said

    return asyncio.run(main())
