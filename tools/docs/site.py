"""Builds the site: the repository's own pages, what they link to, and the API from its docstrings. `tools/site` runs it.

Fails when mkdocs warns of anything, when a link of the built pages leads nowhere, and when a page would load from another host.
"""

from __future__ import annotations

import argparse
import ast
import logging
import re
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, MkDocsException

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ("README.md", "CHANGELOG.md", "csrc/README.md", "bench/README.md", "bench/results/**/*.md", "tools/docs/*.md")
LINK = re.compile(r"""\]\(([^)#:]+)(?:#[^)]*)?\)|(?:src|srcset|href)="([^"#:]+)""")
LOADS = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "link": "href"}
"""Elements that fetch something by themselves."""


def gather(root: Path, into: Path) -> None:
    """Copy the pages, in their places, and the files that they link to; write the page of the API."""
    pages = sorted(page for pattern in PAGES for page in root.glob(pattern))
    for page in pages:
        linked = (page.parent / (found[1] or found[2]) for found in LINK.finditer(page.read_text()))
        for file in (page, *(file.resolve() for file in linked if file.is_file())):
            copy = into / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    (into / "api.md").write_text(api_page(root))


def api_page(root: Path) -> str:
    """A heading and mkdocstrings' mark for each name that the package exports."""
    lines = [
        "# Python API",
        "",
        "What `import lbcore` offers. [Other modules are not promised](tools/docs/operating.md#stability).",
        "",
    ]
    for statement in ast.parse((root / "lbcore/__init__.py").read_text()).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "_HOMES":
            homes: dict[str, str] = ast.literal_eval(statement.value)
            lines += [f"::: lbcore.{home}.{name}" for name, home in sorted(homes.items())]
    return "\n\n".join(lines) + "\n"


class Page(HTMLParser):
    """links: what it leads to. loads: what it fetches. names: what may be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        known = dict(attrs)
        self.names |= {known[key] or "" for key in ("id", "name") if key in known}
        if tag == "a" and known.get("href"):
            self.links.append(known["href"] or "")
        if tag in LOADS and known.get(LOADS[tag]):
            self.loads.append(known[LOADS[tag]] or "")


def faults(site: Path) -> list[str]:
    """What is wrong with the links of a built site, a line each."""
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}  # its links are absolute
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: loads {url}" for url in page.loads if urlsplit(url).netloc]
        for url in (*page.links, *page.loads):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and target in pages and parts.fragment not in pages[target].names):
                found.append(f"{where}: {url} leads nowhere")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/site", description="Build the documentation site.")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "build/site", help="where to; default: build/site")
    words = parser.parse_args()
    logging.basicConfig(format="tools/site: %(message)s", level=logging.WARNING)
    with tempfile.TemporaryDirectory() as gathered:
        gather(ROOT, Path(gathered))
        settings = {"docs_dir": gathered, "site_dir": str(words.directory.resolve()), "strict": True}
        try:
            build(load_config(str(ROOT / "tools/docs/mkdocs.yml"), **settings))
        except (Abort, MkDocsException) as error:
            print(f"tools/site: {error}", file=sys.stderr)
            return 1
    wrong = faults(words.directory.resolve())
    for line in wrong:
        print(f"tools/site: {line}", file=sys.stderr)
    if not wrong:
        print(words.directory / "index.html")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
