"""Whether the store of a cluster would take this node, asked before it starts."""

from __future__ import annotations

import asyncio
import time

from lbcore.cluster.entry import Owner
from lbcore.cluster.opening import open_store
from lbcore.cluster.session import MOST_KEYS, now_ms
from lbcore.cluster.view import NotOurPrefix, View
from lbcore.errors import ConfigError
from lbcore.store.interface import Refused, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ClusterSettings


def examine(settings: ClusterSettings) -> list[str]:
    """What should be otherwise; nothing is written. Raises ConfigError with the key that is at fault."""
    return asyncio.run(_examine(settings))


async def _examine(settings: ClusterSettings) -> list[str]:
    advice: list[str] = []
    store = open_store(settings)
    view = View(Owner(settings.node, ""), settings.prefix, settings.keep_ms / 1000, advice.append)
    try:
        listing = await store.read(settings.prefix, MOST_KEYS)
        view.reread(listing.items, time.monotonic(), now_ms())
        await store.try_write(view.keys.node(settings.node))
    except NotOurPrefix as error:
        raise ConfigError(f"cluster.{error}") from None
    except Refused as error:
        raise ConfigError(f"cluster.{error.option}: {error}") from None
    except StoreError as error:
        raise ConfigError(f"cluster.endpoints: the store cannot be reached: {error}") from None
    finally:
        await store.close()
    if settings.node in view.nodes:
        advice.append(f"node: {settings.node!r} is there already: a balancer of that name runs, or stopped a moment ago")
    return [f"cluster.{line}" for line in advice]
