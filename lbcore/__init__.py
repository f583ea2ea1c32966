"""lbcore: a load balancer for Python teams. A C engine, a live table of backends, and this API.

    with lbcore.Balancer(listen="tcp://127.0.0.1:0", backends=["127.0.0.1:9001"]) as lb:
        print(lb.address)

Names are loaded when they are first used: a worker process never loads the control plane.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore._engine import Pick as Pick
    from lbcore.api.balancer import Balancer as Balancer
    from lbcore.api.picks import Attached as Attached
    from lbcore.api.picks import attach as attach
    from lbcore.api.pool import Backend as Backend
    from lbcore.api.pool import Pool as Pool
    from lbcore.client.registration import Registration as Registration
    from lbcore.errors import ConfigError as ConfigError
    from lbcore.errors import LbcoreError as LbcoreError
    from lbcore.errors import NameTaken as NameTaken
    from lbcore.errors import NoBackend as NoBackend
    from lbcore.errors import NotRunning as NotRunning
    from lbcore.errors import PortTaken as PortTaken
    from lbcore.errors import WorkerFailed as WorkerFailed
    from lbcore.version import VERSION as __version__

_HOMES = {
    "Attached": "api.picks",
    "Backend": "api.pool",
    "Balancer": "api.balancer",
    "ConfigError": "errors",
    "LbcoreError": "errors",
    "NameTaken": "errors",
    "NoBackend": "errors",
    "NotRunning": "errors",
    "Pick": "_engine",
    "Pool": "api.pool",
    "PortTaken": "errors",
    "Registration": "client.registration",
    "WorkerFailed": "errors",
    "attach": "api.picks",
}

__all__ = [
    "Attached",
    "Backend",
    "Balancer",
    "ConfigError",
    "LbcoreError",
    "NameTaken",
    "NoBackend",
    "NotRunning",
    "Pick",
    "Pool",
    "PortTaken",
    "Registration",
    "WorkerFailed",
    "__version__",
    "attach",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        return import_module("lbcore.version").VERSION
    if name in _HOMES:
        value = getattr(import_module(f"lbcore.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lbcore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
