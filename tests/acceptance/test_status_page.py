"""The status page in a real browser, of a real daemon: faulty in every way, and well."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from forwarder.model import SAMPLE_SECONDS, Sample
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.store import StoreConfig
from tests.acceptance.command import Forwarder
from tests.acceptance.test_daemon import free_port, until_ready
from tests.receivers.chromium import Page, chromium
from tests.receivers.hec import Hec, served

pytestmark = pytest.mark.real

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
poll_interval = "300ms"
retention = "7d"
categories = []
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[server]
listen = "127.0.0.1:{port}"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""
FAULTY = """
[sinks.locked]
type = "splunk_hec"
url = "{strict}"
token_file = "{folder}/hec-token"
ack = false
retry = {{ access = "500ms", maximum = "500ms" }}
[sinks.strict]
type = "splunk_hec"
url = "{strict}"
token = "{token}"
ack = false
[sinks.slow]
type = "splunk_hec"
url = "{slow}"
token = "{token}"
[sinks.siem]
type = "syslog"
address = "tcp://127.0.0.1:{closed}"
"""
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>\u202e${7*7}{{7*7}}'
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@asynccontextmanager
async def running(
    folder: Path, simulator: Simulator, more: str, server: str = ""
) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    async with serve(simulator) as bitbucket:
        token = simulator.options.token
        config = CONFIG.format(bitbucket=bitbucket, token=token, folder=folder, port=port)
        forwarder = Forwarder(folder, config.replace("[server]", f"[server]\n{server}") + more)
        with forwarder.daemon() as daemon:
            address = f"http://127.0.0.1:{port}"
            await until_ready(address)
            yield address, daemon


def card(part: str) -> str:
    return f"[id='{part}']"


async def says(page: Page, selector: str, *texts: str, within: float = 30) -> None:
    """Wait until what a person can read at `selector` has every one of `texts`."""
    for text in texts:
        there = f"document.querySelector({json.dumps(selector)})?.innerText.includes"
        await page.until(f"{there}({json.dumps(text)})", within=within)


async def seed(folder: Path, part: str, totals: list[int]) -> None:
    """Keep samples of a day in which the part had counted `totals`, in an hour long ago."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
    async with StoreConfig(url=f"sqlite:///{folder}/state/forwarder.db").open() as outbox:
        await outbox.sample(
            [
                Sample(
                    part=part,
                    at=hour + number * timedelta(seconds=SAMPLE_SECONDS),
                    events=total,
                    backlog=7,
                    lag_seconds=90.0,
                )
                for number, total in enumerate(totals)
            ]
        )


async def is_accessible(page: Page) -> None:
    """Hold the page against WCAG 2.1 AA as far as axe-core can tell."""
    await page.run(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8") + ";0")
    asked = json.dumps({"runOnly": {"type": "tag", "values": AXE_TAGS}})
    found = await page.run(
        f"axe.run(document, {asked}).then(r => r.violations.map(v =>"
        " v.id + ': ' + v.nodes.map(n => n.target + ' ' + n.failureSummary).join('; ')))"
    )
    assert found == []


async def is_usable_on_a_phone(page: Page) -> None:
    """Hold the dead letters against a narrow screen: nothing lies over anything else."""
    await page.resize(390, 800)
    row = "document.querySelector('#letter-table tbody tr')"
    edges = "[c[0].firstElementChild.getBoundingClientRect().right, c[1].getBoundingClientRect().x]"
    box, time = await page.run(f"(c => {edges})({row}.cells)")
    assert box <= time
    await page.run("document.querySelector('#letters').scrollIntoView({behavior: 'instant'}); 0")
    top = "document.querySelector('#h-letters').getBoundingClientRect().top"
    assert await page.run(f"{top} >= document.querySelector('.bar').getBoundingClientRect().bottom")
    acts = "document.querySelector('#letter-table').dataset.acts"
    shown = f"getComputedStyle({row}.cells[0]).display"
    await page.run(f"{acts} = 'false'; 0")
    assert await page.run(shown) == "none"
    await page.run(f"{acts} = 'true'; 0")
    await page.resize(1280, 900)


async def verdict(page: Page, change: str) -> str:
    """Return what the page says below its verdict of a status with `change` in it."""
    return str(
        await page.run(
            "(async () => {"
            "const status = await (await fetch('api/status')).json();"
            f"{change};"
            "(await import('./static/verdict.js')).showVerdict(status);"
            "return document.querySelector('#verdict-more').innerText })()"
        )
    )


async def test_a_faulty_run_is_told_whole_and_its_dead_letters_are_replayed_by_button(
    tmp_path: Path,
) -> None:
    strict, slow = Hec(max_event_bytes=10), Hec(acking=True, slow=True)
    simulator = Simulator(SimulatorOptions(history=20, coverage={"ecosystem": "base"}))
    hec_token = tmp_path / "hec-token"
    hec_token.touch(mode=0o600)
    hec_token.write_text("00000000-wrong")
    simulator.emit({"author": {"name": HOSTILE, "type": "NORMAL", "id": "1"}})
    simulator.emit_raw(b'{"what": "<b>this</b>"}')
    async with served(strict) as one, served(slow) as two, chromium(tmp_path) as browser:
        more = FAULTY.format(
            strict=one, slow=two, token=strict.token, folder=tmp_path, closed=free_port()
        )
        async with running(tmp_path, simulator, more, 'token = "page-secret"') as (url, _):
            browser.credentials = ("anybody", "page-secret")
            page = await browser.page()
            await page.open(url)
            await page.until("document.body.dataset.stale === 'false'")
            assert browser.asked_who == 1
            # It asks by itself each 5 s, as the other test sees; here more often, to save time.
            again = "document.dispatchEvent(new CustomEvent('forwarder:changed'))"
            await page.run(f"setInterval(() => {again}, 500); 0")

            # Everything that is wrong, in the words and signs of its place.
            await says(page, "h1", "need")
            await says(page, "#troubles", "The sink locked is paused", "dead letters")
            await says(page, card("sources.bitbucket"), "running", "behind its log", "Next poll")
            await says(page, card("sources.bitbucket"), "Window", "Audit settings", "ecosystem")
            await says(page, card("sinks.archive"), "running", "backlog", "Position")
            await says(page, card("sinks.locked"), "paused", "Remedy:", "Next try")
            await says(page, card("sinks.siem"), "trying again", "refused")
            await says(page, card("sinks.slow"), "wait for the destination's word")
            await says(page, card("sinks.strict"), "running", "Dead letters")
            await says(page, "#store", "7 d", "until the source removes")
            simulator.emit(late=2.5)
            await says(page, card("sources.bitbucket"), "showed up behind the mark")

            # Events are text, whatever they hold, and are found.
            await says(page, "#event-table", "Security hook skipped", "hook.skipped")
            await says(page, "#event-table", HOSTILE.replace("\u202e", "\\u202e"))
            assert await page.run("document.querySelectorAll('main img, main script').length") == 0
            await page.run(
                "(f => { f.text.value = 'onerror'; f.dispatchEvent(new Event('input')) })"
                "(document.querySelector('#filters'))"
            )
            await page.until("document.querySelector('#event-table tbody').rows.length === 1")
            await says(page, "#event-note", "1 event")

            # Dead letters: looked into, one record discarded, all the others replayed.
            await says(page, "#letter-table", "malformed", "record of bitbucket", "unreadable")
            await page.run("document.querySelector('#letter-table details').open = true")
            await says(page, "#letter-table pre", "<b>this</b>")
            await is_accessible(page)
            await page.shoot(tmp_path / "faulty.png")
            await is_usable_on_a_phone(page)
            await page.run(
                "gone = [...document.querySelectorAll('#letter-table tbody tr')].find("
                "row => row.innerText.includes('malformed'));"
                "gone.querySelector('input').click(); document.querySelector('#discard').click()"
            )
            await says(page, "dialog[open]", "Discard 1 dead letter?")
            await page.run("document.querySelector('#sure-yes').click()")
            await says(page, "#letter-done", "1 dead letter is discarded")
            await page.until("!gone.isConnected")
            strict.max_event_bytes = 5_000_000
            await page.run(
                "document.querySelector('#pick-all').click();"
                "document.querySelector('#replay').click()"
            )
            await says(page, "#letter-done", "tried again", "stays: it still cannot be read")
            await page.until(
                "document.querySelector('#letter-note').innerText === '1 record: unreadable.'"
            )
            assert len(set(strict.ids)) >= 20

            # What is mended is well by itself.
            hec_token.write_text(strict.token)
            await says(page, card("sinks.locked"), "running")
            slow.index()
            await says(page, card("sinks.slow"), "running")

            assert page.complaints() == []
            assert {r for r in page.requests() if not r.startswith(url)} == set()


async def test_a_well_run_fits_every_screen_and_a_daemon_that_is_gone_is_told(
    tmp_path: Path,
) -> None:
    simulator = Simulator(SimulatorOptions(history=60))
    await seed(tmp_path, "sinks.archive", [0, 5, 5, 92, 100])
    async with (
        chromium(tmp_path) as browser,
        running(tmp_path, simulator, "") as (url, daemon),
    ):
        page = await browser.page(width=1280)
        await page.open(url)
        await says(page, "h1", "All is well")
        await says(page, "#verdict-more", "is delivered to every sink")
        await says(page, "#letter-note", "None:")
        assert await page.run("document.title.startsWith('✓ All is well')")

        # It claims no more than is so.
        said = await verdict(page, "status.sinks[0].dead_letters = 2")
        assert said.endswith("to every sink, but for the dead letters of archive.")
        other = "status.sources.push({...status.sources[0], name: 'other', mark: null})"
        assert await verdict(page, other) == "Not read to the end yet: other."
        assert "No source" in await verdict(page, "status.sources[0].mark = null")

        # Charts: their numbers are text too, under the arrow keys and in a table.
        plot = card("sinks.archive") + " .plot"
        label = await page.run(f"document.querySelector({json.dumps(plot)}).ariaLabel")
        assert "Events sent, five minutes a step: at most 87 events" in label
        for _ in range(3):
            await page.run(
                f"document.querySelector({json.dumps(plot)}).dispatchEvent("
                "new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
            )
        await says(page, card("sinks.archive") + " .tip", "UTC: 87 events")
        await page.run(
            f"document.querySelector({json.dumps(card('sinks.archive') + ' .hours')}).open = true"
        )
        await says(page, card("sinks.archive") + " .hours tbody", "100", "90 s")

        for scheme in ("light", "dark"):
            await page.scheme(scheme)
            await is_accessible(page)
            await page.shoot(tmp_path / f"well-{scheme}.png")
        for width in (360, 768, 1920):
            await page.resize(width, 800)
            assert await page.run("document.documentElement.scrollWidth") == width
        await page.shoot(tmp_path / "well-wide.png")

        # The same nodes after an update: nothing flickers, nothing is lost from the focus.
        await page.run("window.kept = document.querySelector('.card'); kept.seen = 1")
        before = await page.text("#fresh")
        await page.until(f"document.querySelector('#fresh').innerText !== {json.dumps(before)}")
        assert await page.run("document.querySelector('.card') === kept")
        assert page.complaints() == []

        daemon.kill()
        await says(page, "#unreachable", "The daemon cannot be reached.", "What is shown is of")
        assert await page.run("document.title.startsWith('✕')")
