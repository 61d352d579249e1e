"""The report as a reader meets it: links, pictures, and no error in a browser."""

from __future__ import annotations

import pkgutil
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

import nvlib
from artifact import report
from artifact.compare import beside
from artifact.record import Record, committed

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.links += [found[name] for name in ("href", "src") if name in found]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "REPORT", folder)
        nothing = Record(folder / "none", folder / "none", folder / "none")
        compared = beside(committed(), committed())
        index = report.write({"commit": "abc <b>", "profile": "quick"}, nothing, compared)
    assert index == folder / "index.html"
    return folder


def test_every_link_and_picture_is_there(pages):
    names = sorted(path.name for path in pages.glob("*.html"))
    assert names[-1] == "index.html"
    assert len(names) >= 9
    for path in pages.glob("*.html"):
        references = References()
        references.feed(path.read_text(encoding="utf-8"))
        for link in references.links:
            if link.startswith("#"):
                assert link[1:] in references.ids, f"{path.name}: {link}"
            elif not link.startswith(("https://", "http://", "data:")):
                assert (pages / link).is_file(), f"{path.name}: {link}"


def test_the_api_has_a_page_for_each_module_to_build_on(pages):
    assert 'href="api/index.html"' in (pages / "index.html").read_text(encoding="utf-8")
    for name in (info.name for info in pkgutil.iter_modules(nvlib.__path__)):
        text = (pages / "api" / "nvlib" / f"{name}.html").read_text(encoding="utf-8")
        assert f"nvlib.{name}" in text
        fetched = re.findall(r'(?:src=|@import |url\()"?([^" )]*)', text)
        assert not [link for link in fetched if link.startswith(("http", "//"))]


def test_the_first_page_has_claims_figures_and_facts(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    assert "C6_W4A3" in text
    assert "as recorded: this run judged none" in text
    assert "<td>table precision_grid</td>" in text
    assert text.count("<figure") >= 12
    assert "abc &lt;b&gt;" in text
    page = (pages / "05_adc_reduction.html").read_text(encoding="utf-8")
    assert "<math" in page
    assert "$$" not in page


def test_names_of_files_are_escaped():
    shown = report._figure("a<b>&c d", recorded=True)
    assert "<b>" not in shown
    assert 'src="figures/a%3Cb%3E%26c%20d.png"' in shown
    assert "a&lt;b&gt;&amp;c d, as recorded" in shown


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_every_page_without_an_error(pages, tmp_path, width):
    for path in sorted(pages.glob("*.html")):
        picture = tmp_path / f"{path.stem}.png"
        done = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             f"--window-size={width},1000", f"--screenshot={picture}", path.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert picture.stat().st_size > 5000, path.name
        assert "CONSOLE" not in done.stderr, done.stderr
        assert "ERR_" not in done.stderr, done.stderr
