"""The pages for users hold: every block of configuration, Python and commands in them is tried, and the quick start is run."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from networks import ALONE, may_be_alone

import lbcore
from lbcore.cli import run
from lbcore.cli.commands import application
from lbcore.observe import families

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "tools/docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of a page. at: its page and number, the id of its test."""

    at: str
    kind: str
    text: str


def blocks(*kinds: str) -> Iterator[Any]:
    """Of all pages, as parameters."""
    for page in PAGES:
        for number, found in enumerate(BLOCK.finditer(page.read_text())):
            block = Block(f"{page.stem}-{number}", found[1], found[2])
            if block.kind in kinds:
                yield pytest.param(block, id=block.at)


def whole(text: str) -> str:
    """A configuration from a part of one: what a part leaves out is put before it."""
    if re.search(r"^\[pool\.", text, re.MULTILINE) and "[[pool]]" not in text:
        text = re.sub(r"^\[pool\.", "[[pool]]\n[pool.", text, count=1, flags=re.MULTILINE)
    return text if "[[listener]]" in text else f'{text}\n[[listener]]\nbind = "http://127.0.0.1:0"\n'


@pytest.mark.parametrize("block", list(blocks("toml")))
def test_configurations_in_pages_pass_check(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificates = re.findall(r'^(?:cert|client_ca|ca) = "([^"]+)"', block.text, re.MULTILINE)
    keys = re.findall(r'^key = "([^"]+)"', block.text, re.MULTILINE)
    if certificates:
        make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=example.com -keyout key -out cert"
        subprocess.run(shlex.split(make), cwd=tmp_path, check=True, capture_output=True)
        for name in certificates:
            (tmp_path / name).write_bytes((tmp_path / "cert").read_bytes() + (tmp_path / "key").read_bytes())
        for name in keys:
            shutil.copyfile(tmp_path / "key", tmp_path / name)
    # a user is left out: the command would become that user, who may not run a Python in a home of somebody else
    top, bracket, tables = whole(block.text).partition("[")
    text = re.sub(r'^user = "\w+".*\n', "", top, flags=re.MULTILINE) + bracket + tables
    for name in re.findall(r'^(?:password_file|secret_file|token_file) = "([^"]+)"', tables, re.MULTILINE):
        (tmp_path / name).write_text("of 32 characters or more, and secret\n")
    for name in re.findall(r'^map = "([^"]+)"', tables, re.MULTILINE):
        (tmp_path / name).write_text("a.example.com shop\n")
    for name in re.findall(r'^api_keys = "([^"]+\.txt)"', tables, re.MULTILINE):
        (tmp_path / name).write_text("shop: 0123456789abcdef\n")
    for name in re.findall(r'^basic_auth = "([^"]+)"', tables, re.MULTILINE):
        (tmp_path / name).write_text("anna:{PLAIN}secret\n")
    for name in re.findall(r'\bbody_file = "([^"]+)"', tables):
        (tmp_path / name).write_text("a page\n")
    file = tmp_path / "page.toml"
    file.write_text(text)
    assert run(["check", str(file)]) == 0, f"{capsys.readouterr()}\n{text}"


@pytest.mark.parametrize("block", list(blocks("python")))
def test_python_in_pages_compiles_and_names_what_lbcore_exports(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lbcore":
            assert node.attr in lbcore.__all__


def test_the_program_on_the_page_of_embedding_runs() -> None:
    block = next(
        found[2] for found in BLOCK.finditer((ROOT / "tools/docs/embedding.md").read_text()) if "Balancer(" in found[2]
    )
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@functools.cache
def command_line() -> Any:
    return application()


def known_flags(words: list[str]) -> tuple[Any, list[str]]:
    """The command that a line calls, and the words behind it."""
    command: Any = command_line()
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands or words[0].startswith("-"), f"no command {words[0]!r}"
        if words[0].startswith("-"):
            break
        command, words = command.commands[words[0]], words[1:]
    return command, words


def commands_in_pages() -> Iterator[Any]:
    """Lines of blocks that call lbcore, and such calls in the text."""
    for page in PAGES:
        text = page.read_text()
        lines = {line for found in BLOCK.finditer(text) if found[1] in ("", "sh") for line in found[2].splitlines()}
        calls = {line for line in lines if re.match(r"lbcore (?!ready )[a-z-]", line)}
        calls |= set(re.findall(r"`(lbcore [a-z-][^`\n]*)`", BLOCK.sub("", text)))
        for number, line in enumerate(sorted(calls)):
            yield pytest.param(line, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("line", list(commands_in_pages()))
def test_commands_in_pages_exist_with_their_flags(line: str) -> None:
    words = re.split(r"\s{3,}|\s#|;|&|\|| -- ", line)[0].split()[1:]
    command, rest = known_flags(words)
    if not rest and hasattr(command, "commands"):
        return
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h", "--install-completion", "--show-completion"}
    assert {word for word in rest if word.startswith("-")} <= known


def test_metrics_in_pages_exist() -> None:
    known = {f"lbcore_{family.name}" for table in families.TABLES.values() for family in table}
    known |= {f"{name}_total" for name in known}
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # which tells of names that were
            named = set(re.findall(r"`(lbcore_[a-z_]+)`", page.read_text()))
            assert named <= known, page


def test_the_quick_start_runs_as_it_is_pasted(tmp_path: Path) -> None:
    if not may_be_alone() or shutil.which("curl") is None:
        pytest.skip("a network of its own cannot be made here, or there is no curl")
    text = (ROOT / "README.md").read_text().partition("## Quick start")[2]
    block = next(found[2] for found in BLOCK.finditer(text) if "http.server" in found[2])
    script = f"export PATH={Path(sys.executable).parent}:$PATH LBCORE_RUNTIME_DIR={tmp_path}/run; cd {tmp_path}\n{block}wait\n"
    done = subprocess.run([*ALONE, "bash", "-c", script], capture_output=True, text=True, timeout=90)
    assert done.stdout.splitlines().count("200") == 2, done
    assert "127.0.0.1:8001" in done.stdout
    assert done.returncode == 0, done.stderr


def test_the_readme_begins_with_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    first = next(found[2].splitlines() for found in BLOCK.finditer(text))
    assert [line.split()[0] for line in first] == ["tools/test", "tools/demo"]
    assert len(text.splitlines()) < 190
