"""Every test ends as it began: no thread, descriptor or child process is left."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import descriptors, wait_for
from memberships import Bench
from service_managers import Manager
from tls_peers import Authority

from lbcore import locks
from lbcore.config import options
from lbcore.control import loops

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["LBCORE_CHECK_LOCKS"] = "1"  # of the processes that tests start, too


def pytest_configure() -> None:
    """LBCORE_TEST_LOOP: the loop of balancers in this process that do not name one; with uring, it must work."""
    loop = os.environ.get("LBCORE_TEST_LOOP", "auto")
    if loop == "uring":
        assert not loops.refusal(), loops.refusal()
    next(option for option in options.TOP if option.name == "loop").default = "auto" if loop == "uring" else loop


def pytest_sessionstart() -> None:
    """A sanitized run that tests the ordinary engine would prove nothing."""
    if "LBCORE_SANITIZED" in os.environ:
        import lbcore._engine

        with open("/proc/self/maps") as file:
            assert "libasan" in file.read()
        assert lbcore._engine.__file__.startswith(os.environ["PYTHONPATH"]), lbcore._engine.__file__


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The processes of pytest-xdist all begin with what takes longest."""
    if hasattr(config, "workerinput"):
        from work_units import longest_first

        longest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """What `--dist loadfile` means here."""
    from work_units import WorkUnits

    return WorkUnits(config, log) if config.option.dist == "loadfile" else None


def _children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    threads, open_before, children = set(threading.enumerate()), descriptors(), _children()
    yield

    def left() -> list[object]:
        return [
            *(thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("lbcore")),
            *(entry for entry in descriptors() - open_before if "memfd" in entry or "pipe" in entry or "eventpoll" in entry),
            *(_children() - children),
        ]

    try:
        wait_for(lambda: not left(), "nothing is left behind", 3)
    except AssertionError:
        pytest.fail(f"left behind: {left()}")
    broken, locks.broken[:] = list(locks.broken), []
    assert not broken


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that tests trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def site(authority: Authority) -> Path:
    """A certificate for a.test, and its key."""
    return authority.issue("a.test")


@pytest.fixture(scope="session")
def here(authority: Authority) -> Path:
    """A certificate for where the tests' backends live."""
    return authority.issue("here", "IP:127.0.0.1", "DNS:localhost")


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, signed by somebody else."""
    return Authority(tmp_path_factory.mktemp("strange")).issue("here", "IP:127.0.0.1", "DNS:localhost")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A membership of one pool, and its clock."""
    bench = Bench()
    yield bench
    bench.table.close()


@pytest.fixture
def strict() -> Iterator[Bench]:
    """The same for a pool of which exactly one backend may serve."""
    bench = Bench(initial="down", when_none="refuse", on_down="cut")
    yield bench
    bench.table.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens on NOTIFY_SOCKET."""
    made = Manager(tmp_path)
    yield made
    made.socket.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="lbcore-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
