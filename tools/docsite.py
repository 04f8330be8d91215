"""Checks the built site and the links to it, after Zensical's own check."""

import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# `spec/`, `tests/test_x.py`: text that names a file of this repository
_MENTION = re.compile(r"`([\w.-]+/[\w./-]*)`")


class Page(HTMLParser):
    """The ids of a page, its links, and the resources that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.walled = False  # by a Content-Security-Policy
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if given.get("http-equiv") == "Content-Security-Policy" and given["content"].startswith("default-src 'self'; "):
            self.walled = True
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag != "link" or not {"canonical", "prev", "next"} & set(given.get("rel", "").split()):
            self.loads += [given[name] for name in ("src", "href", "data", "poster") if name in given]


def dead_links(site: Path) -> list[str]:
    """Return what the pages link to and lack, or load from other hosts; Zensical itself checks the anchors."""
    problems, vendor = [], site / "vendor"
    for path in site.rglob("*.html"):
        page, here = Page(path.read_text(encoding="utf-8")), path.relative_to(site).as_posix()
        if not page.walled:
            problems.append(f"{here} has no Content-Security-Policy")
        if path.name == "404.html":
            continue  # its links are relative to the site's URL
        problems += [f"{here} loads {url}" for url in page.loads if urlsplit(url).netloc]
        for url in page.links + page.loads:
            target = (path.parent / unquote(urlsplit(url).path)).resolve()
            known = target.exists() or (vendor.resolve() in target.parents and not vendor.exists())  # without node
            if not (known or urlsplit(url).scheme or urlsplit(url).netloc):
                problems.append(f"{here} links to {url}; that is missing")
    for style in site.rglob("*.css"):
        loads = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", style.read_text(encoding="utf-8"))
        problems += [f"{style.relative_to(site)} loads {url}" for url in loads]
    return problems


def dead_mentions(root: Path, site: Path) -> list[str]:
    """Return the links and file names in the repository's pages whose file or anchor is missing."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    files = {*listed, *(str(parent) + "/" for name in listed for parent in Path(name).parents)}
    folders = {name.partition("/")[0] for name in listed if "/" in name}
    problems = []
    for path in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        mentioned = [name for name in _MENTION.findall(text) if name.partition("/")[0] in folders]
        problems += [f"{path.name} names {name}; that is missing" for name in mentioned if name not in files]
        for link in _LINK.findall(text) if path.parent == root else ():
            name, _, anchor = link.partition("#")
            if urlsplit(link).netloc or not name:
                continue
            page = site / Path(name).relative_to("docs").with_suffix("") / "index.html" if name[:5] == "docs/" else None
            if not (root / name).exists():
                problems.append(f"{path.name} links to {name}; that is missing")
            elif page and anchor and anchor not in Page(page.read_text(encoding="utf-8")).ids:
                problems.append(f"{path.name} links to {link}, where #{anchor} is missing")
    return problems


def lost_pages(root: Path) -> list[str]:
    """Return the pages that are missing in the navigation."""

    def listed(entry: Any) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        return set().union(*map(listed, entry.values() if isinstance(entry, dict) else entry))

    found = listed(tomllib.loads((root / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])
    pages = sorted(path.name for path in (root / "docs").glob("*.md"))
    return [f"docs/{name} needs a line in the nav of zensical.toml" for name in pages if name not in found]


if __name__ == "__main__":
    sys.exit("\n".join([*lost_pages(ROOT), *dead_links(SITE), *dead_mentions(ROOT, SITE)]) or 0)
