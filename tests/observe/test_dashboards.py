"""The Grafana dashboard and the alert rules of tools/dashboards, by the real Prometheus: rules and their tests by promtool,
each panel's query against what lbcore serves at /metrics. Grafana itself is not run here."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Command, free_port, wait_for
from http_peers import Backend, Client
from real_peers import needs, running

from lbcore.observe import families

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = Path(__file__).resolve().parents[2] / "tools" / "dashboards"
DASHBOARD = json.loads((FILES / "lbcore.json").read_text())
_METRIC = re.compile(r"\blbcore_[a-z0-9_]+")


def queries() -> list[tuple[str, str]]:
    """(panel's title, query), with Grafana's variables as it fills them in."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
            found.append((panel["title"], query))
    return found


def known() -> set[str]:
    """Every series name that lbcore has."""
    names = set()
    for value in vars(families).values():
        for family in value if isinstance(value, tuple) else ():
            if isinstance(family, families.Family):
                ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.kind, ("",))
                names |= {f"lbcore_{family.name}{end}" for end in ends}
    return names


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lbcore.json", "alerts.yml", "alerts_test.yml"])
def test_every_metric_that_is_named_exists(name: str) -> None:
    text = (FILES / name).read_text()
    assert set(_METRIC.findall(text)) <= known()


def test_panels_have_their_own_ids_places_and_data_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["description"]


@needs("promtool")
def test_rules_and_their_tests_hold() -> None:
    assert shutil.which("promtool")
    for line in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *line], cwd=FILES, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


# --- queries -------------------------------------------------------------------------------------------------------------


class Prometheus:
    """A Prometheus that scrapes one balancer twice a second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **query: str) -> Any:
        """The data of its answer."""
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def is_ready(self) -> bool:
        """Does it take queries? It listens before."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, text: str) -> list[Any]:
        """The result of an instant query."""
        found: list[Any] = self.ask("/api/v1/query", query=text)["result"]
        return found


@contextlib.contextmanager
def prometheus(tmp_path: Path, target: str) -> Iterator[Prometheus]:
    """With the alert rules."""
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 500ms, evaluation_interval: 1s}}\nrule_files: [{FILES}/alerts.yml]\n"
        f"scrape_configs: [{{job_name: lbcore, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    line = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with running([*line, f"--web.listen-address=127.0.0.1:{port}"], port, tmp_path):
        found = Prometheus(port)
        wait_for(found.is_ready, "its storage is open", 30)
        yield found


@needs("prometheus")
def test_each_panels_query_finds_what_lbcore_serves(tmp_path: Path) -> None:
    with Backend() as backend:
        (tmp_path / "lb.toml").write_text(
            'workers = 1\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "http://127.0.0.1:0"\n[[pool]]\nname = "app"\n'
            f'max_active = 1\n[pool.probe]\ninterval = "200ms"\n[[pool.backend]]\naddress = "{backend.address}"\n'
        )
        lb = Command(tmp_path, "-c", str(tmp_path / "lb.toml"))
        try:
            with prometheus(tmp_path, lb.admin.removeprefix("http://")) as found:

                def has_data(query: str) -> bool:
                    with Client(lb.address) as first, Client(lb.address) as second:
                        for client in (first, second):
                            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        assert [first.answer().status, second.answer().status] == [200, 200]
                    return bool(found.query(query))

                for title, query in queries():
                    wait_for(lambda query=query: has_data(query), f"{title}: {query} has data", 30)  # type: ignore[misc]
                rules = found.ask("/api/v1/rules")["groups"][0]["rules"]
                assert len(rules) == 13
                wait_for(lambda: all_well(found), "every rule is evaluated, and none is broken", 30)
        finally:
            lb.stop()


def all_well(found: Prometheus) -> bool:
    rules = found.ask("/api/v1/rules")["groups"][0]["rules"]
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    return all(rule["health"] == "ok" for rule in rules)
