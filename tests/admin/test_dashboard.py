"""The dashboard in a real browser: what it shows, what it does, for whom, and how it fares with many backends."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from admin_calls import settings
from browsers import CHROMIUM, chromium
from file_sources import of_file
from harness import SLOWER, Peer, balanced, dial, echo, wait_for
from http_balancers import OFF

from lbcore.admin.feed import Feed
from lbcore.config.settings import BackendSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from lbcore import Balancer

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed (Debian: chromium)")

TOKEN = "open sesame, please"
ADDRESS = "10.0.0.1:8000"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed.__init__, "__defaults__", (0.1,))


def rules(*addresses: str, token: str | None = TOKEN) -> Any:
    return settings({"token": token} if token else {}, backends=[BackendSettings(address=address) for address in addresses])


@contextlib.contextmanager
def opened(browser: Browser, lb: Balancer, token: str | None = TOKEN, **options: Any) -> Iterator[Page]:
    """The dashboard, with its token shown. Fails when the browser complains or asks anybody else."""
    page = browser.new_page(**options)
    complaints: list[str] = []
    page.set_default_timeout(5000 * SLOWER)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((str(lb.admin_address), "data:")) else complaints.append(asked.url),
    )
    try:
        page.goto(str(lb.admin_address))
        if token:
            page.get_by_label("Token", exact=True).fill(token)
            page.keyboard.press("Enter")
        page.locator("main").wait_for()
        yield page
        assert [line for line in complaints if "status of 40" not in line] == []
    finally:
        page.close()


def until(page: Page, condition: str) -> None:
    """Wait for an expression (the page's own policy keeps Playwright's wait_for_function out)."""
    wait_for(lambda: page.evaluate(condition), condition)


def row(page: Page, address: str = ADDRESS) -> Any:
    return page.get_by_role("row").filter(has_text=address)


def test_it_shows_states_reasons_and_rates(browser: Browser) -> None:
    with Peer(echo) as peer, balanced(settings=rules(peer.address, ADDRESS)) as lb, opened(browser, lb) as page:
        lb.pool().get(ADDRESS).drain()
        row(page).get_by_text("drained by an operator").wait_for()
        for _ in range(3):
            with dial(lb.address) as session:
                session.sendall(b"x")
                assert session.recv(1) == b"x"
        until(page, "known.speed.accepted !== null && total.rate.some(value => value > 0)")
        assert page.get_by_role("heading", name="lbcore").is_visible()
        assert page.locator(".tile", has_text="Backends up").get_by_text("1 draining").is_visible()
        assert "default" in str(page.locator("#rate-plot").get_attribute("aria-label"))
        assert page.get_by_role("status").filter(has_text="live").is_visible()


def test_it_shows_sources_and_says_at_once_that_one_is_stale(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_text("10.0.0.1:8000\n10.0.0.2:8000\n")
    found = rules()
    pool = found.pools[0].replace(probe=OFF, sources=[of_file(path)])
    with balanced(settings=found.replace(pools=[pool])) as lb, opened(browser, lb) as page:
        source = page.locator("#sources li").filter(has_text=str(path))
        source.filter(has_text="→ default · 2 backends · heard ").wait_for()
        assert source.get_by_text("up", exact=True).is_visible()
        path.unlink()
        source.get_by_text("its last 2 backends stay in force: No such file or directory").wait_for()
        assert source.get_by_text("stale", exact=True).is_visible()
        assert page.get_by_role("status").filter(has_text="1 source of 1 in trouble").is_visible()


def test_the_token_is_asked_for_kept_in_the_tab_and_forgotten(browser: Browser) -> None:
    with balanced(settings=rules(ADDRESS)) as lb, opened(browser, lb) as page:
        page.reload()
        row(page).wait_for()
        assert page.evaluate("[sessionStorage['lbcore.token'], localStorage.length, document.cookie]") == [TOKEN, 0, ""]
        assert TOKEN not in page.url
        page.get_by_role("button", name="Forget the token").click()
        page.get_by_label("Token", exact=True).fill("another")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("That is not it.").wait_for()
        assert not page.locator("main").is_visible()


def test_drain_ready_weight_and_remove(browser: Browser) -> None:
    with balanced(settings=rules(ADDRESS)) as lb, opened(browser, lb) as page:
        page.get_by_role("button", name=f"Drain {ADDRESS}").click()
        wait_for(lambda: lb.pool().backends()[0].state == "draining", "it drains")
        page.get_by_role("button", name=f"Ready {ADDRESS}").click()
        wait_for(lambda: lb.pool().backends()[0].state == "up", "it is back")
        page.get_by_role("button", name=f"Weight of {ADDRESS}").click()
        page.get_by_label("Weight, 0 to 256").fill("7")
        page.get_by_role("button", name="Set").click()
        wait_for(lambda: lb.pool().backends()[0].weight == 7, "its weight is 7")
        page.get_by_role("button", name=f"Remove {ADDRESS}").click()
        page.get_by_role("button", name="Cancel").click()
        assert lb.pool().backends()
        page.get_by_role("button", name=f"Remove {ADDRESS}").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        wait_for(lambda: not lb.pool().backends(), "it is gone")
        page.get_by_text("No backend yet").wait_for()


def test_by_keyboard_alone(browser: Browser) -> None:
    with balanced(settings=rules(ADDRESS, "10.0.0.2:8000")) as lb, opened(browser, lb) as page:
        page.keyboard.press("/")
        page.keyboard.type("10.0.0.2")
        row(page).wait_for(state="detached")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Drain 10.0.0.2:8000":
                break
        page.keyboard.press("Enter")
        wait_for(lambda: lb.pool().get("10.0.0.2:8000").state == "draining", "it drains")
        page.get_by_role("button", name="Ready 10.0.0.2:8000").wait_for()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Ready 10.0.0.2:8000"


def test_without_a_token_it_only_shows(browser: Browser) -> None:
    with balanced(settings=rules(ADDRESS, token=None)) as lb, opened(browser, lb, None) as page:
        row(page).wait_for()
        assert page.get_by_text("this page only shows").is_visible()
        assert page.get_by_role("button", name=f"Drain {ADDRESS}").count() == 0
        answer = page.evaluate("fetch('backends/drain', {method: 'POST', body: '{}'}).then(answer => answer.status)")
        assert answer == 403


def test_a_page_of_another_origin_acts_on_nothing(browser: Browser) -> None:
    with Peer(_page) as elsewhere, balanced(settings=rules(ADDRESS, token=None)) as lb:
        page = browser.new_page()
        page.goto(f"http://{elsewhere.address}/")
        page.evaluate(
            """async to => {
                const body = JSON.stringify({server_ip: "127.0.0.1", port: 4000, status: "ready"});
                await fetch(`${to}/register`, {method: "POST", mode: "no-cors", body}).catch(() => 0);
                await fetch(`${to}/pick?hold_s=60`, {method: "POST", mode: "no-cors"}).catch(() => 0);
            }""",
            str(lb.admin_address),
        )
        page.close()
        assert [backend.address for backend in lb.pool().backends()] == [ADDRESS]
        assert lb.status()["pools"][0]["backends"][0]["active"] == 0


def _page(connection: Any) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<p>.")


def test_it_says_so_when_the_balancer_is_gone_and_comes_back(browser: Browser) -> None:
    with balanced(settings=rules(ADDRESS)) as lb:
        page = browser.new_page()
        page.set_default_timeout(8000 * SLOWER)
        page.goto(str(lb.admin_address))
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_text("live", exact=True).wait_for()
        feed = lb._running().admin._feed
        lb._running().admin._loop.call_soon_threadsafe(feed.close)
        until(page, "known.lost !== ''")
        page.get_by_text("live", exact=True).wait_for()
        page.close()


def test_a_thousand_backends_stay_fluid(browser: Browser) -> None:
    addresses = [f"10.{number >> 8}.{number & 255}.1:80" for number in range(1000)]
    with balanced(settings=rules(*addresses)) as lb, opened(browser, lb) as page:
        until(page, "known.backends.size === 1000")
        assert page.locator("#rows tr").count() == 50
        spent = page.evaluate(
            """() => {
                const began = performance.now();
                for (let turn = 0; turn < 10; turn++) {
                    for (const one of known.backends.values()) one.rates.push(Math.random() * 10);
                    showTiles(); showPlots(); showPools(); showBackends(true);
                }
                return (performance.now() - began) / 10;
            }"""
        )
        assert spent < 150 * SLOWER, f"a turn takes {spent:.0f} ms"
        began = time.monotonic()
        page.get_by_role("searchbox").fill("10.3.200.1")
        wait_for(lambda: page.locator("#rows tr").count() == 1, "the filter finds it")
        assert time.monotonic() - began < 2 * SLOWER
        page.get_by_role("searchbox").fill("nobody")
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("button", name="more of 950").click()
        wait_for(lambda: page.locator("#rows tr").count() == 150, "more are shown")


NARROW = """() => [...document.querySelectorAll('main *, header *')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width && !one.closest('.hide, svg, .tile .also, .under') && box.right > innerWidth + 0.5;
}).map(one => `${one.tagName}.${one.className}`)"""

SMALL = """() => [...document.querySelectorAll('#rows button')].filter(one => one.offsetHeight < 36).length"""

CONTRAST = """() => {
    const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const flat = colours => { probe.clearRect(0, 0, 1, 1); for (const one of colours) { probe.fillStyle = one; probe.fillRect(0, 0, 1, 1); } return [...probe.getImageData(0, 0, 1, 1).data]; };
    const light = ([r, g, b]) => { const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
    const faults = [];
    for (const one of document.querySelectorAll('body *')) {
        if (![...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || !one.checkVisibility() || one.closest('.hide, script, style, .skip')) continue;
        const under = [];
        for (let at = one; at; at = at.parentElement) under.unshift(getComputedStyle(at).backgroundColor);
        const [back, front] = [light(flat(under)), light(flat([...under, getComputedStyle(one).color]))];
        const ratio = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
        if (ratio < 4.5) faults.push(`${one.tagName}.${one.className} "${one.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
    }
    return faults;
}"""  # noqa: E501

UNNAMED = """() => [...document.querySelectorAll('button, input, select, canvas[role], [tabindex="0"]')].filter(one =>
    one.checkVisibility() && !one.getAttribute('aria-label') && !one.textContent.trim() && !(one.labels && one.labels.length)
).map(one => one.outerHTML)"""


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_can_be_read_and_has_names(browser: Browser, width: int) -> None:
    with balanced(settings=rules(ADDRESS, "10.0.0.2:8000", "[2001:db8:85a3::8a2e:370:7334]:8000")) as lb:
        lb.pool().get("10.0.0.2:8000").drain()
        with opened(browser, lb, viewport={"width": width, "height": 780}, reduced_motion="reduce") as page:
            row(page).wait_for()
            until(page, "known.at !== null && total.rate.length > 3")
            page.evaluate("STATES.forEach(state => $('chips').append(make('span', {class: `pill ${state}`}, state)))")
            schemes: list[Any] = ["light", "dark"]
            for scheme in schemes:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                assert page.evaluate(CONTRAST) == [], scheme
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(NARROW) == []
            assert page.evaluate(UNNAMED) == []
            if width < 400:
                assert page.evaluate(SMALL) == 0
                page.get_by_role("button", name=f"Weight of {ADDRESS}").click()
                assert page.evaluate("document.getElementById('weight-dialog').getBoundingClientRect().right <= innerWidth")


def test_percentiles_are_shown_where_the_balancer_has_them(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    with balanced(settings=rules(ADDRESS)) as lb:
        feed = lb._running().admin._feed
        status = feed._status

        def with_latency() -> dict[str, Any]:
            document = status()
            document["pools"][0]["latency"] = {"p50_ms": 1.5, "p99_ms": 42.25, "p999_ms": 77.0, "count": 9}
            return dict(document)

        monkeypatch.setattr(feed, "_status", with_latency)
        with opened(browser, lb) as page:
            page.get_by_text("Latency: p99, and p50 dashed").wait_for()
            assert page.locator(".tile", has_text="Latency").get_by_text("42.3").is_visible()
            assert "p99 42.3 ms" in str(page.locator("#latency-plot").get_attribute("aria-label"))
