"""In which order pytest-xdist's processes run the tests, and what stays together in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import pytest

APART = ("test_sanitized.py", "test_by_epoll.py")
"""Each test of these files is a unit of its own. Of all others the file is one: its fixtures are made once."""
LONG_S = {
    "test_sanitized.py": 400,
    "test_by_epoll.py": 150,
    "test_c_units.py": 60,
    "test_command.py": 55,
    "test_upgrade.py": 50,
    "test_servers.py": 50,
    "test_scenarios.py": 45,
    "test_front.py": 45,
    "test_soak.py": 40,
    "test_paused_peers.py": 30,
    "test_cluster.py": 30,
    "test_documents.py": 25,
    "test_cluster_faults.py": 25,
    "test_etcd.py": 20,
    "test_systemd.py": 20,
    "test_who_is_waited_for.py": 20,
    "test_slow_bodies.py": 20,
    "test_privileges.py": 20,
    "test_http_reader.py": 20,
    "test_fuzz.py": 20,
    "test_top.py": 15,
    "test_ready.py": 15,
}
"""Seconds that the longest files take. They come first: whichever came last would be left to one process."""


def longest_first(items: list[pytest.Item]) -> None:
    """Sort them, and keep the order within each file."""
    items.sort(key=lambda item: -LONG_S.get(item.path.name, 0))


class WorkUnits(LoadFileScheduling):
    """File by file, but for those whose tests go to whichever process is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.endswith(APART) else file
