"""The report as a reader has it: links, pictures, captions; in a browser, at every width."""

from __future__ import annotations

import json
import pkgutil
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pytest

import nvlib
from artifact import claims, data, explorer_grid, publish, report, story
from artifact.compare import beside
from artifact.explorer import shipped
from artifact.record import Record, committed
from tests.browser import CHROMIUM, Browser

WIDTHS = (360, 768, 1280)
#: What TeX leaves in a text that no one rendered.
TEX = re.compile(r"\\[a-zA-Z]{2,}|mathrm|\$\$|\bsum_\w|left\[")


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
    found = sorted(pages.glob("*.html"))
    assert len(found) >= 9 + len(report.MENU) - 1
    for path in [*found, pages / "api" / "index.html"]:
        references = References()
        references.feed(path.read_text(encoding="utf-8"))
        for link in references.links:
            if link.startswith("#"):
                assert link[1:] in references.ids, f"{path.name}: {link}"
            elif not link.startswith(("https://", "http://", "data:")):
                target = path.parent / unquote(link.partition("#")[0])
                assert target.is_file(), f"{path.name}: {link}"


def test_the_api_has_a_page_for_each_module_to_build_on(pages):
    assert 'href="api/index.html"' in (pages / "index.html").read_text(encoding="utf-8")
    for name in (info.name for info in pkgutil.walk_packages(nvlib.__path__, "nvlib.")):
        text = (pages / "api" / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        assert name in text
        assert f'href="{"../" * name.count(".")}../index.html"' in text
        fetched = re.findall(r'(?:src=|@import |url\()"?([^" )]*)', text)
        assert not [link for link in fetched if link.startswith(("http", "//"))]


def test_the_verdict_comes_first_and_the_facts_last(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    judged = claims.read()
    order = [text.index(part) for part in (publish.answer(judged), "C6_W4A3", "abc &lt;b&gt;")]
    assert order == sorted(order)
    assert text.count("<li class=") == len(judged)
    assert "as recorded: this run judged none" in text
    assert "<td>table precision_grid</td>" in (pages / "beside.html").read_text(encoding="utf-8")
    page = (pages / "05_adc_reduction.html").read_text(encoding="utf-8")
    assert "<math" in page
    assert "$$" not in page
    assert 'rel="prev"' in page
    assert 'rel="next"' in page


def test_a_notebooks_page_begins_with_its_verdicts(pages):
    text = (pages / "05_adc_reduction.html").read_text(encoding="utf-8")
    start, end = text.index("<h1"), text.index('class="formula"')
    cards = re.findall(r'<li class="(\w+)"><b>(.)</b> ([^<]+)', text[start:end])
    told = {claim["id"]: publish.beside(claim) for claim in claims.read()}
    assert [words for *_, words in cards] == [
        f"{publish.short(name)}: {claim['verdict']} ({told[name]})"
        for name, claim in ((c["id"], c) for c in claims.read()) if name[:2] in ("C5", "C6")
    ]  # fmt: skip
    assert "verdicts" not in (pages / "04_sparsity.html").read_text(encoding="utf-8")


def test_checks_are_a_list_whose_results_come_first(pages):
    text = (pages / "00_overview.html").read_text(encoding="utf-8")
    found = re.findall(r"<li><b>(\w+)</b> ([^<]+)</li>", text)
    assert ("ok", "one seed is one chip") in found
    assert {word for word, _ in found} == {"ok"}
    failed = nbformat.v4.new_output("stream", text="it holds ...... FAILED\nand why\n")
    assert "<li><b>FAILED</b> it holds</li><li>and why</li>" in str(report._checks([failed]))


def test_figures_stand_in_the_order_of_the_story_with_words_for_people(pages):
    text = (pages / "figures.html").read_text(encoding="utf-8")
    shown = re.findall(r'<figure id="(\w+)"', text)
    known = [origin.name for origin in story.origins() if origin.name in shown]
    notebooks = {origin.name: origin.notebook for origin in story.origins()}
    assert set(shown) == set(known)
    assert [notebooks[name] for name in shown] == sorted(notebooks[name] for name in shown)
    for alt in re.findall(r'alt="([^"]*)"', text):
        assert len(alt.split()) > 4, alt
    for origin in story.origins():
        assert origin.shows
        assert origin.table in ["", *committed().tables(), *committed("cifar10").tables()]


def test_names_of_files_are_escaped():
    strange = story.Origin("a<b>&c d", "05", "05-01", "artifact.figures.x.y", "", "<b>", "<")
    shown = report._figure(strange, True, True)
    assert "<b>" not in shown
    assert 'src="figures/a%3Cb%3E%26c%20d.png"' in shown
    assert 'id="a&lt;b&gt;&amp;c d"' in shown


def test_the_search_finds_sections(pages):
    script = (pages / "index.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("const INDEX = ").removesuffix(";\n"))
    assert {"index.html", "05_adc_reduction.html"} <= {
        entry["link"].partition("#")[0] for entry in index
    }


def test_the_explorers_grid_is_what_the_simulator_computes():
    grid = json.loads(explorer_grid.GRID.read_text())
    assert grid["axes"] == json.loads(json.dumps(explorer_grid.AXES))
    assert len(explorer_grid.GRID.read_bytes()) < 300_000
    if data.load("auto").name != "mnist":
        pytest.skip("the grid is of MNIST")
    recorded = next(c for c in grid["chips"] if c["precision"] == "W2A2" and c["adc_bits"] == 5)
    found = explorer_grid.hardware_point(shipped("mnist", grid["images"]), "W2A2", 1, 5)
    assert json.loads(json.dumps(found)) == recorded


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with Browser() as tab:
        yield tab


def test_a_browser_shows_every_page_at_every_width(pages, browser):
    """No complaint, no TeX, nothing wider than the window."""
    for path in [*sorted(pages.glob("*.html")), pages / "api" / "index.html"]:
        for width in WIDTHS:
            assert browser.open(path.as_uri(), width) == [], path.name
            assert browser.run("document.documentElement.scrollWidth") <= width, path.name
        text = browser.run(
            "(() => { const copy = document.body.cloneNode(true);"
            "copy.querySelectorAll('pre, code, script, style').forEach(e => e.remove());"
            "return copy.textContent })()"
        )
        assert TEX.findall(text) == [], path.name
        lost = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        assert browser.run(lost) == 0, path.name


def test_a_phone_shows_a_verdict_without_scrolling(pages, browser):
    browser.open((pages / "index.html").as_uri(), 360, 640)
    first = "document.querySelector('.verdicts li').getBoundingClientRect().bottom"
    assert browser.run(first) < 640


def test_a_phone_shows_paper_ours_and_verdict_of_a_claim_without_scrolling_aside(pages, browser):
    browser.open((pages / "index.html").as_uri(), 360)
    widest = "Math.max(...[...document.querySelectorAll('.cards td')].map(" \
             "cell => cell.getBoundingClientRect().right))"  # fmt: skip
    assert browser.run(widest) <= 360


def test_search_and_explorer_answer(pages, browser):
    browser.open((pages / "index.html").as_uri())
    browser.run("search.value = 'walden'; search.dispatchEvent(new Event('input'))")
    assert browser.run("found.querySelectorAll('a').length") > 0
    browser.open((pages / "explorer.html").as_uri())
    first = browser.run("said.textContent")
    browser.run("variation.value = 4; variation.dispatchEvent(new Event('input'))")
    assert browser.run("said.textContent") != first
    grid = json.loads(explorer_grid.GRID.read_text())
    chip = next(c for c in grid["chips"] if c["precision"] == "W4A3" and c["adc_bits"] == 4)
    wanted = f"W4A3: {100 * chip['correct'][4] / grid['images']:.1f} %"
    assert browser.run("said.textContent").startswith(wanted)


def test_axe_finds_no_serious_violation(pages, browser, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    got = subprocess.run(["npm", "install", "--silent", "axe-core@4"], cwd=tmp_path,
                         capture_output=True, timeout=120)  # fmt: skip
    script = tmp_path / "node_modules" / "axe-core" / "axe.min.js"
    if got.returncode or not script.is_file():
        pytest.skip("needs axe-core from npm's registry")
    for path in [*sorted(pages.glob("*.html")), pages / "api" / "index.html"]:
        browser.open(path.as_uri())
        browser.run(script.read_text(encoding="utf-8") + ";1")
        found = browser.run(
            "axe.run().then(r => r.violations.filter(v => ['serious', 'critical']"
            ".includes(v.impact)).map(v => v.id + ': ' + v.nodes[0].html))"
        )
        assert found == [], path.name
