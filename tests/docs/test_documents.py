"""What is written for users holds: examples are read, the man page is fresh, the shell completes, notes name real options."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Command
from networks import ALONE, may_be_alone

from lbcore.config import options
from lbcore.config.toml import load

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "tools/docs"
EXAMPLES = DOCS / "examples"
LBCORE = Path(sys.executable).with_name("lbcore")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_read(example: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "lbcore", "check", str(example)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_serve(example: Path, tmp_path: Path) -> None:
    if not may_be_alone():
        pytest.skip("a network of its own cannot be made here")
    lb = Command(tmp_path, "-c", str(example), through=ALONE)
    try:
        settings, status = load(example), lb.status()
        assert lb.listens == [listener.url for listener in settings.listeners]
        assert {pool["name"] for pool in status["pools"]} == {pool.name for pool in settings.pools}
        assert lb.admin == f"http://{settings.admin.listen if settings.admin else '127.0.0.1:9900'}"
    finally:
        assert lb.stop() == 0, lb.stderr.read_text()


def test_the_app_of_the_compose_file_answers_the_probe() -> None:
    yaml = pytest.importorskip("yaml")
    if not may_be_alone():
        pytest.skip("a network of its own cannot be made here")
    settings = load(EXAMPLES / "container.toml")
    app = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]["app"]
    line = [word.replace("$$", "$").replace("exec python ", f"exec {sys.executable} ") for word in app["command"]]
    url = f"http://127.0.0.1:{settings.pools[0].sources[0].port}{settings.pools[0].probe.path}"
    curl = f'curl -s --retry 20 --retry-connrefused --retry-delay 1 -w "%{{http_code}}" -o /dev/null {url}'
    ask = f'"$@" >/dev/null & app=$!; {curl}; kill $app'
    done = subprocess.run([*ALONE, "sh", "-c", ask, "app", *line], capture_output=True, text=True, timeout=60)
    assert done.stdout == "200", done.stderr


def test_container_files_fit_their_configuration() -> None:
    """The time that is given for the end, the ports, and where the file is expected, written in three places."""
    settings = load(EXAMPLES / "container.toml")
    compose, kubernetes, docker = ((EXAMPLES / name).read_text() for name in ("compose.yaml", "kubernetes.yaml", "Dockerfile"))
    ends_s = (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000
    for text, key in ((compose, "stop_grace_period"), (kubernetes, "terminationGracePeriodSeconds")):
        assert int(re.search(rf"{key}: (\d+)", text)[1]) > ends_s  # type: ignore[index]
    port, source = settings.listeners[0].port, settings.pools[0].sources[0]
    assert f"containerPort: {port}" in kubernetes
    assert f"targetPort: {port}" in kubernetes
    assert f":{port}" in compose
    assert f'[lbcore, ready, --admin, "{settings.admin.listen}"]' in kubernetes  # type: ignore[union-attr]
    assert f"port: {source.port}" in kubernetes
    assert "/etc/lbcore/lbcore.toml" in docker
    assert "container.toml:/etc/lbcore/lbcore.toml" in compose


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_container_files_are_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert all(yaml.safe_load_all((EXAMPLES / name).read_text()))


def test_the_migration_notes_name_options_that_exist() -> None:
    tables = [options.TOP, options.LISTENER, options.CERTIFICATE, options.ROUTE, options.POOL, options.PROBE, options.LEASE]
    others = [options.MIRROR, options.RESPOND, options.OUTLIER, options.BACKEND, options.SOURCE, options.EDITS, options.ACME]
    others += [options.SCRAPE, options.AUTH_REQUEST]
    known = {option.name for table in (*tables, *others) for option in table}
    known |= {
        "auth_request",
        "custom",
        "request_headers",
        "response_headers",
        "header",
        "cookie",
        "method",
        "mirror",
        "query",
        "not",
        "any",
        "respond",
        "tcp",
        "udp",
        "status",
        "load",
        "for_s",
    }
    known |= {choice for table in tables for option in table for choice in option.choices}
    unknown = set()
    for row in (DOCS / "migration.md").read_text().splitlines():
        last = row.rpartition(" | ")[2] if row.startswith("|") else ""
        for code in re.findall(r"`([^`]+)`", last):
            words = re.sub(r'\[\[?[a-z.]+\]?\]|= *"[^"]*"|"[^"]*"|= *\S+( \})?|\{|\}', " ", code)
            unknown |= {word for word in re.findall(r"[a-z_]{3,}", words) if word not in known and "lbcore" not in code}
    assert unknown <= {"metrics", "canary", "model"}, unknown


def test_the_links_of_all_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "csrc/README.md", ROOT / "bench/README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def build_site(root: Path, into: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mkdocstrings_handlers.python", reason="the extra `docs` is not installed")
    line = [sys.executable, str(root / "tools/docs/site.py"), str(into)]
    return subprocess.run(line, capture_output=True, text=True)


def test_the_site_is_built_and_asks_no_other_host(tmp_path: Path) -> None:
    done = build_site(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text()
    assert "where-to-read-on" in page
    assert "drain_timeout" in (tmp_path / "tools/docs/options.html").read_text()
    assert "lbcore_" in (tmp_path / "tools/docs/metrics.html").read_text()
    assert "HOST:PORT" in (tmp_path / "api.html").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "[nowhere](bench/none.md)",
        "[no such heading](#none)",
        '<a href="none.html">raw</a>',
        '<img src="http://192.0.2.1/x.png">',
    ],
)
def test_a_link_that_leads_nowhere_fails_the_site(line: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("csrc", "bench", "tools", "lbcore"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    (copy / "CHANGELOG.md").write_text("# Changelog\n")
    (copy / "README.md").write_text(f"{(ROOT / 'README.md').read_text()}\n{line}\n")
    done = build_site(copy, tmp_path / "site")
    assert done.returncode == 1
    assert "none" in done.stderr or "192.0.2.1" in done.stderr


def test_the_man_page_is_fresh_and_well_formed() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/render-man", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    page = (DOCS / "lbcore.1").read_text()
    for word in ("install\\-service", "drain_timeout", "backend weight", "LISTEN_FDS"):
        assert word in page, word
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", str(DOCS / "lbcore.1")], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not LBCORE.exists() or shutil.which("bash") is None, reason="no bash, or lbcore is not installed")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("lbcore ba", {"backend"}),
        ("lbcore re", {"ready", "register", "reload"}),
        ("lbcore backend ", {"add", "drain", "list", "ready", "remove", "weight"}),
        ("lbcore run --po", {"--policy"}),
        ("lbcore install-service --", {"--config", "--name", "--user", "--run-as", "--print", "--help"}),
    ],
)
def test_bash_completes(line: str, wanted: set[str]) -> None:
    """As bash does it: the function that --show-completion prints, called with the words of the line."""
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # no shell need have started the tests
    script = subprocess.run(
        [str(LBCORE), "--show-completion", "bash"], capture_output=True, text=True, check=True, env=named
    ).stdout
    words = line.split(" ")
    call = f"{script}\nCOMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)}); COMP_CWORD={len(words) - 1}\n"
    call += '_lbcore_completion lbcore\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    env = {**os.environ, "PATH": f"{LBCORE.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, env=env)
    assert set(done.stdout.split()) == wanted, done.stderr
