"""Opens the site that `nox -s docs` has built in Chromium, at two widths, with all hosts but loopback cut off."""

import functools
import http.server
import itertools
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, TimeoutError, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
PICTURED = ("engine/", "performance/", "release/")  # the pages that are opened
WIDTHS = {"desktop": 1280, "phone": 390}
FIRST = {"reset": "cli/", "locked": "errors/", "rotate": "settings/"}  # the page that a search must list first
# No host name resolves, so no foreign resource loads; an attempt still shows as a request.
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_SHOWN = """(() => {
    const end = document.querySelector("article").getBoundingClientRect().right;
    const boxes = [...document.querySelectorAll("div.mermaid")].map(e => e.getBoundingClientRect());
    return {
        scheme: document.body.dataset.mdColorScheme,
        diagrams: boxes.filter(box => box.width > 100 && box.height > 50).length,
        overflow: Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth),
        wide: [...document.querySelectorAll("article table:not([class])")].filter(table => {
            const box = table.closest(".md-typeset__scrollwrap");
            const unseen = box.scrollWidth > box.clientWidth + 1 && box.previousElementSibling.hidden;
            return box.getBoundingClientRect().right > end + 1 || unseen;
        }).length,
    };
})()"""
_SWITCH = "document.querySelector('[data-md-component=palette] label:not([hidden])').click()"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback; give its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()  # noqa: TID251  (a build step)
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def opened(browser: Browser, url: str, width: int, problems: list[str]) -> Page:
    """Open a page on a screen of this width (a phone's below 600), for a reader who prefers a light scheme."""

    def complain(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"{url}: {message.text}")

    page = browser.new_page(
        viewport={"width": width, "height": 900}, is_mobile=width < 600, color_scheme="light", reduced_motion="reduce"
    )
    page.on("console", complain)
    page.on("pageerror", lambda error: problems.append(f"{url}: {error}"))
    host = url.split("/")[2]
    page.on(
        "request",
        lambda asked: host in asked.url or asked.url[:5] == "data:" or problems.append(f"{url}: asked for {asked.url}"),
    )
    page.goto(url)
    return page


def pictures(browser: Browser, url: str, site: Path) -> list[str]:
    """Open pages at two widths, in both schemes, save a picture of each in .nox, and return the problems."""
    problems: list[str] = []
    for path, device in itertools.product(PICTURED, WIDTHS):
        diagrams = (site / path / "index.html").read_text(encoding="utf-8").count('class="mermaid"')
        page = opened(browser, url + path, WIDTHS[device], problems)
        if diagrams:
            page.wait_for_function("!document.querySelector('pre.mermaid') && document.querySelector('div.mermaid')")
            page.evaluate("document.querySelector('div.mermaid').scrollIntoView({block: 'center'})")
        for scheme in ("default", "slate"):  # light first, then by the switch
            name = f"{path.strip('/')}-{device}-{scheme}"
            shot = ROOT / ".nox" / f"docs-{name}.png"
            page.screenshot(path=shot)
            shown = page.evaluate(_SHOWN)
            print(f"{name}: {shown}, {shot.relative_to(ROOT)}")
            right = {"scheme": scheme, "diagrams": diagrams, "overflow": 0, "wide": 0}
            problems += [
                f"{name}: {key} is {shown[key]}, not {want}" for key, want in right.items() if shown[key] != want
            ]
            page.evaluate(_SWITCH)
        page.close()
    return problems


def searches(browser: Browser, url: str) -> list[str]:
    """Return the words whose page a search does not list first."""
    problems: list[str] = []
    for word, path in FIRST.items():  # each on a new page: the hits of the word before get the new word's links first
        page = opened(browser, url, WIDTHS["desktop"], problems)
        page.click(".md-search__button")
        page.locator("input:visible").last.fill(word)
        hit = page.locator(f"a[href*='h={word}']").first
        try:
            first = str(hit.get_attribute("href", timeout=10_000)).removeprefix(url)
        except TimeoutError:
            first = "nothing"
        if not first.startswith(path):
            problems.append(f"search for {word!r}: {first} comes first, not {path}")
        page.close()
    return problems


def main() -> list[str]:
    """Return all problems."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright, serving(SITE) as url:
        browser = playwright.chromium.launch(executable_path=chromium, args=[_ALONE])
        return [*pictures(browser, url, SITE), *searches(browser, url)]


if __name__ == "__main__":
    sys.exit("\n".join(main()) or 0)
