"""The page in a real browser, headless: desktop and phone, light and dark, screen and paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import write_run

from fdrl.report.write import write

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

FRAME = """<!doctype html><style>body{margin:0}iframe{border:0}</style><body>
<script>
const found = {};
addEventListener("message", (e) => {
  found[e.data.name] = e.data;
  document.body.dataset.found = JSON.stringify(found);
});
for (const [name, width] of [["desktop", 1280], ["phone", 390]]) {
  const frame = document.createElement("iframe");
  frame.src = "measured.html#" + name;
  frame.width = width; frame.height = 900;
  document.body.append(frame);
}
</script>"""
MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, wide = [];
  for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (box.right > innerWidth + 1 && !e.closest(".wide") && !e.closest("svg") &&
        getComputedStyle(e).position !== "absolute") wide.push(e.tagName + " " + e.className);
  }
  const size = (q) => parseFloat(getComputedStyle(document.querySelector(q)).fontSize);
  const text = document.querySelector("figure svg text");
  parent.postMessage({
    name: location.hash.slice(1), inner: innerWidth, scroll: root.scrollWidth, wide: wide,
    body: size("body"), figure: text.getBoundingClientRect().height,
    columns: getComputedStyle(document.querySelector(".figures")).gridTemplateColumns
      .split(" ").length,
    head: document.querySelector(".verdict thead").getBoundingClientRect().height,
  }, "*");
});
</script>"""


def browse(tmp_path: Path, *words: str) -> str:
    """Run the browser; skip where it cannot start (a container without what it needs)."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", *words,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("chromium did not answer within a minute")
    if done.returncode:
        pytest.skip(f"chromium does not start here: {done.stderr[-200:]}")
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page with long names, many methods and a run that failed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(6):
        for beta in (0.0, 4.0):
            for power in (1.0, 2.0):
                settings = {"type": "fd", "beta": beta, "visit_power": power}
                write_run(folder / f"fd{beta}{power}{seed}", settings, seed, 480 + seed + beta)
        for name in ("local", "fedavg", "frd", "mixfrd"):
            sent = 0.0 if name == "local" else 5e5
            write_run(folder / f"{name}{seed}", name, seed, 300 + seed, sent=sent)
    write_run(folder / ("long" * 40), "pd", finished=False, rounds=4)
    return write([folder], folder / "page")[0]


def test_nothing_overflows_at_desktop_and_phone_width(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("</body>", f"{MEASURE}</body>")
    (tmp_path / "measured.html").write_text(text, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME)
    address = (tmp_path / "frame.html").as_uri()
    dom = browse(tmp_path, "--virtual-time-budget=5000", "--dump-dom", address)
    told = re.search(r'data-found="([^"]+)"', dom)
    assert told, dom[-500:]
    found = json.loads(html.unescape(told[1]))
    assert found["desktop"]["inner"] == 1280
    assert found["phone"]["inner"] == 390
    for measured in found.values():
        assert measured["wide"] == []
        assert measured["scroll"] <= measured["inner"]
        # text in figures stays readable
        assert measured["figure"] >= 9
    assert (found["desktop"]["columns"], found["phone"]["columns"]) == (2, 1)
    # tables turn into cards
    assert found["desktop"]["head"] > 10 > found["phone"]["head"]


def pixels(path: Path) -> tuple[float, float]:
    """Return the lightness of the corner, and the share of pixels that differ from it."""
    from matplotlib.image import imread

    image = imread(path)[..., :3].mean(-1)
    return float(image[5, 5]), float((abs(image - image[5, 5]) > 0.2).mean())


@pytest.mark.parametrize(("scheme", "light"), [(1, True), (0, False)])
def test_a_screenshot_is_light_or_dark(
    page: Path, tmp_path: Path, scheme: int, light: bool
) -> None:
    shot = tmp_path / "shot.png"
    browse(
        tmp_path, "--window-size=1280,1600", f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={shot}", page.as_uri(),
    )  # fmt: skip
    corner, ink = pixels(shot)
    assert (corner > 0.9) if light else (corner < 0.2)
    assert 0.01 < ink < 0.5


def test_it_prints(page: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={target}", "--no-pdf-header-footer", page.as_uri())
    data = target.read_bytes()
    assert data.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 20
