"""The report in a real browser: nothing hangs out, on a phone, on a wide screen, in the dark and on paper.

Screenshots and the PDF lie in build/report for whoever wants to look at them.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import reports

from borg_ovirt.jobs.report.page import page

OUT = Path(__file__).parents[2] / "build/report"
WIDTHS = (320, 400, 700, 1032, 1140, 1141, 1400)
LOOK = """
onload = () => {
  const told = [];
  for (const frame of document.querySelectorAll('iframe')) {
    const page = frame.contentDocument, width = frame.clientWidth, out = [];
    for (const one of page.body.querySelectorAll('*')) {
      const box = one.getBoundingClientRect(), style = frame.contentWindow.getComputedStyle(one);
      const head = one.closest('thead');
      const hidden = one.closest('.hidden, svg') !== null
        || (head !== null && frame.contentWindow.getComputedStyle(head).clipPath !== 'none');
      if (!hidden && (box.right > width + 0.5 || box.left < -0.5 || one.scrollWidth > one.clientWidth + 1
          && style.display !== 'inline' && one.clientWidth > 0))
        out.push(one.tagName + '.' + one.className + ': ' + one.textContent.slice(0, 40));
    }
    const table = page.querySelector('table'), cell = page.querySelector('td');
    told.push({width, whole: page.documentElement.scrollWidth, out,
      back: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      narrow: frame.contentWindow.getComputedStyle(cell).display === 'grid',
      charts: [...page.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 20)});
  }
  document.querySelector('pre').textContent = JSON.stringify(told);
};
"""


def chromium(*words: str) -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "apt-get install chromium"
    base = [found, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={OUT / 'profile'}"
    done = subprocess.run([*base, profile, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def text() -> str:
    OUT.mkdir(parents=True, exist_ok=True)
    made = page(reports.report())
    (OUT / "report.html").write_text(made)
    return made


def looked_at(text: str, *words: str) -> list[dict[str, object]]:
    """The page in frames of several widths, measured by the browser."""
    frames = "".join(
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(text)}"></iframe>'
        for width in WIDTHS
    )
    wrap = OUT / "frames.html"
    wrap.write_text(f"<!DOCTYPE html><body><script>{LOOK}</script>{frames}<pre></pre></body>")
    dom = chromium("--virtual-time-budget=5000", *words, "--dump-dom", f"file://{wrap}")
    match = re.search(r"<pre>(.*)</pre>", dom, re.DOTALL)
    assert match
    told: list[dict[str, object]] = json.loads(html.unescape(match[1]))
    assert [one["width"] for one in told] == list(WIDTHS)
    return told


@pytest.mark.parametrize(("scheme", "back"), [("1", "rgb(245, 246, 248)"), ("0", "rgb(18, 22, 28)")])
def test_nothing_hangs_out(text: str, scheme: str, back: str) -> None:
    for one in looked_at(text, f"--blink-settings=preferredColorScheme={scheme}"):
        assert one["out"] == [], one["width"]
        assert one["whole"] == one["width"]
        assert one["back"] == back
        assert one["narrow"] == (one["width"] <= 1140)  # type: ignore[operator]
        assert one["charts"]


def test_nothing_hangs_out_on_paper(text: str) -> None:
    printed = text.replace("@media print", "@media all").replace("@media screen and", "@media print and")
    assert printed != text
    (paper,) = [one for one in looked_at(printed) if one["width"] == 1032]  # A4 across, in CSS pixels
    assert paper["out"] == []
    assert paper["whole"] == 1032


def test_pictures_to_look_at(text: str) -> None:
    url = f"file://{OUT / 'report.html'}"
    for name, scheme in (("light", "1"), ("dark", "0")):
        shot = OUT / f"wide-{name}.png"
        words = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1400,3000")
        chromium(*words, f"--screenshot={shot}", url)
        assert shot.read_bytes().startswith(b"\x89PNG")
    pdf = OUT / "report.pdf"
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", url)
    made = pdf.read_bytes()
    assert made.startswith(b"%PDF")
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", made)
    assert 2 <= len(boxes) <= 10
    assert all(float(width) > float(height) for width, height in boxes)  # A4 across
