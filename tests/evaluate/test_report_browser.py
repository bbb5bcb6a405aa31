"""The report in a real Chromium: what stands there, that nothing complains, and that it fits."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lite.evaluate.log import read_log
from lite.evaluate.report.page import page_data, render_page
from lite.evaluate.report.rows import rows_of
from lite.evaluate.report.traces import collect_traces
from lite.evaluate.summary import measured, summarise
from tests.evaluate.report_log import HOSTILE, LABELS, write_log

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=8000",
    "--enable-logging=stderr",
    "--v=0",
)
PROBE = """
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const key = (target, name) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
(async () => {
  await wait(300);
  const told = {};
  const all = (query) => [...document.querySelectorAll(query)];
  told.width = document.documentElement.scrollWidth;
  told.window = document.documentElement.clientWidth;
  const outside = (one) => one.getBoundingClientRect().right > told.window + 1;
  told.wide = all("main *").filter((one) => !one.closest(".scroll, .cards, svg") && outside(one))
    .map((one) => one.outerHTML.slice(0, 90));
  told.small = all("svg text").filter((one) => parseFloat(getComputedStyle(one).fontSize) < 11).length;
  told.paper = getComputedStyle(document.body).backgroundColor;
  told.unreachable = all("button, select, input, .tokens, .scroll")
    .filter((one) => !one.closest("[hidden]") && one.tabIndex < 0).length;
  const select = all("select.focus")[1];
  const choose = async (name) => {
    select.value = [...select.options].find((one) => one.textContent.startsWith(name)).value;
    select.dispatchEvent(new Event("change"));
    await wait(200);
  };
  const question = () => document.getElementById("question").value;
  await choose("stops");
  told.stops = all(".stop").length;
  told.forced = all(".forced").map((one) => one.textContent);
  told.pressed = all("tbody button[aria-pressed=true]").map((one) => one.textContent);
  await choose("cascade");
  told.routed = all(".chips .routed").map((one) => one.textContent);
  told.votes = all(".vote-name").map((one) => one.textContent);
  told.first = question();
  key(document.body, "n");
  await wait(200);
  told.second = question();
  key(document.body, "p");
  await wait(200);
  told.third = question();
  const tokens = document.querySelector(".tokens");
  tokens.focus();
  key(tokens, "ArrowRight");
  key(tokens, "ArrowRight");
  told.at = all(".t.at").map((one) => one.dataset.i);
  told.detail = document.querySelector(".detail").textContent;
  all("thead button").find((one) => one.textContent.startsWith("tokens")).click();
  told.sorted = all("tbody tr").map((row) => Number(row.children[2].textContent.replace(",", "")));
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
})();
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    log = read_log([write_log(folder / "run.jsonl")])
    summary, took = summarise(log), measured(log)
    rows = rows_of(summary, took)
    data = page_data(log, summary, took, rows, collect_traces(log, LABELS), "Made up")
    path = folder / "report.html"
    path.write_text(render_page(data), "utf-8")
    return path


def browse(path: Path, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """The page's elements after its script has run, and what the console says."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probed(page: Path, folder: Path, *flags: str) -> Any:
    """What a script finds on the page; its own policy would not let this script run."""
    text = re.sub(r"<meta http-equiv.*?>", "", page.read_text("utf-8")).replace("</body>", PROBE + "</body>")
    path = folder / "probed.html"
    path.write_text(text, "utf-8")
    dom, console = browse(path, folder, *flags)
    assert console == []
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return json.loads(unescape(found[1]))


def test_everything_is_shown_and_nothing_complains(page: Path, tmp_path: Path) -> None:
    dom, console = browse(page, tmp_path, "--window-size=1280,1000")
    assert console == []
    assert "<title>Made up</title>" in dom
    assert dom.count('class="dot ') >= len(LABELS)
    assert dom.count('aria-pressed="') == len(LABELS)
    assert dom.count('class="curve ') == 8  # four lines, four keys of the legend
    assert dom.count('<article class="card') >= 3
    body = dom[: dom.index('id="data"')]
    assert HOSTILE not in body
    assert "&lt;/script&gt;&lt;script&gt;document.title" in body


@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_answers_the_keyboard_and_follows_the_choice(page: Path, tmp_path: Path, width: int) -> None:
    told = probed(page, tmp_path, f"--window-size={width},900")
    assert told["width"] <= told["window"], told["wide"]
    assert told["wide"] == []
    assert told["small"] == told["unreachable"] == 0
    assert told["stops"] == 4
    assert told["forced"] == ["So the answer is <b>"]
    assert told["pressed"] == ["★stops:early=yes"]
    assert told["routed"] == ["→ large"]
    assert any(text.startswith("✓ 7 ") for text in told["votes"])
    assert (told["first"], told["second"], told["third"]) == ("0", "1", "0")
    assert told["at"] == ["1"]
    assert re.match(r'" word1", token 1 · log p ≈ -\d', told["detail"])
    assert told["sorted"] == sorted(told["sorted"], reverse=True)


def test_it_follows_the_readers_light_or_dark(page: Path, tmp_path: Path) -> None:
    light = probed(page, tmp_path, "--window-size=800,900", "--blink-settings=preferredColorScheme=1")
    dark = probed(page, tmp_path, "--window-size=800,900", "--blink-settings=preferredColorScheme=0")
    assert (light["paper"], dark["paper"]) == ("rgb(251, 250, 247)", "rgb(18, 20, 24)")
