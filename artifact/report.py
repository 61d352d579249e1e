"""The report: verdict, figures and notebooks as pages in ``build/report``.

The pages stand alone: pictures lie beside them, formulas are MathML, nothing is fetched.
"""

from __future__ import annotations

import html
import json
import pkgutil
import re
import shutil
import warnings
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mistune
import nbformat
import pandas as pd
from jinja2 import Environment
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

import nvlib
from artifact import claims, compare, drawings, explorer, figures, publish, story
from artifact.data import OTHER_TASK
from artifact.figures.style import supplement, typeset
from artifact.paths import NOTEBOOKS, REPORT
from artifact.record import AlteredError, Record, committed, of_run
from nvlib.storage import write_text

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?(?:\n[^$\n]+?)?)\$(?!\d)", re.DOTALL)
_SITE = files("artifact").joinpath("site")
MENU = (("index", "Verdict"), ("figures", "Figures"), ("explorer", "Explorer"),
        ("beside", "Agrees?"), ("api/index", "API"))  # fmt: skip
#: Lines of a check cell: what was checked, dots, and how it came out.
_CHECK = re.compile(r"(.+?) [. ]*(ok|FAILED)$")
CHECK = "# NBVAL_CHECK_OUTPUT"

#: What of a notebook is folded away, by how its cell begins.
FOLDED = {"import ": "imports", "from ": "imports", "session = notebook.start": "set-up",
          CHECK: "code of the check"}  # fmt: skip


def write(environment: dict[str, str], run: Record, beside: pd.DataFrame) -> Path:
    """Write the report; its first page.

    Parameters
    ----------
    environment : dict
        Version, commit, hashes, times of the run, and what else a reader wants to know of it.
    run : Record
        What the run made; where it lacks a notebook or a figure, the committed one is shown, and
        of a figure that is said.
    beside : DataFrame
        From `artifact.compare.beside`.
    """
    recorded = _pictures(committed(), committed(OTHER_TASK))
    pictures = recorded | _pictures(run, of_run(OTHER_TASK))
    folder = REPORT / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        shutil.copyfile(picture, folder / name)
    shown = {
        Path(name).stem: path == recorded.get(name)
        for name, path in sorted(pictures.items())
        if path.suffix == ".png"
    }
    style = _SITE.joinpath("style.css").read_text("utf-8")
    write_text(REPORT / "style.css", HtmlFormatter().get_style_defs(".highlight") + "\n" + style)
    for name in ("search.js", "explorer.js"):
        write_text(REPORT / name, _SITE.joinpath(name).read_text("utf-8"))
    grid = _SITE.joinpath("explorer.json").read_text("utf-8")
    write_text(REPORT / "explorer-grid.js", f"const GRID = {grid};\n")
    questions = story.titles()
    page = partial(_page, questions=questions)
    judged = claims.read(run)
    whose = "of this run" if judged else "as recorded: this run judged none"
    judged = judged or claims.read_unaltered()
    bodies = {
        "index": _index(environment, judged, whose, shown, questions),
        "figures": _figures(run, shown, questions),
        "explorer": _EXPLORER,
        "beside": _beside(beside),
        "api/index": _write_api(),
    }
    for name in questions:
        source = run.notebooks / f"{name}.ipynb"
        mine = [c for c in judged if name in claims.expected()[c["id"]]["command"].split()]
        bodies[name] = _notebook(source if source.is_file() else NOTEBOOKS / f"{name}.ipynb", mine)
    for name, body in bodies.items():
        page(name, body)
    index = [entry for name, body in bodies.items() for entry in _sections(name, body)]
    write_text(REPORT / "index.js", f"const INDEX = {json.dumps(index)};\n")
    return REPORT / "index.html"


def _pictures(*places: Record) -> dict[str, Path]:
    return {path.name: path for place in places for path in place.pictures()}


def _page(name: str, body: str, questions: dict[str, str]) -> None:
    template = Environment(autoescape=True).from_string(
        _SITE.joinpath("page.html").read_text("utf-8")
    )
    order = list(questions)
    place = order.index(name) if name in questions else None
    before = None if not place else order[place - 1]
    after = order[0] if name == "index" else None
    if place is not None and place + 1 < len(order):
        after = order[place + 1]
    turn = [(other, questions[other]) if other else None for other in (before, after)]
    text = template.render(
        title=(dict(MENU) | questions)[name], menu=MENU, notebooks=questions.items(), current=name,
        body=body, up="../" * name.count("/"), before=turn[0], after=turn[1],
    )  # fmt: skip
    write_text(REPORT / f"{name}.html", text)


def _sections(name: str, body: str) -> list[dict[str, str]]:
    """Title, text and link of each section of a page, for the search."""
    found = []
    for part in re.split(r"(?=<h[123][ >])", body):
        heading = re.match(r"<h[123]([^>]*)>(.*?)</h[123]>", part, re.DOTALL)
        if heading:
            place = re.search(r'id="([^"]+)"', heading[1])
            text = re.sub(r"<style.*?</style>|<[^>]+>", " ", part, flags=re.DOTALL)
            found.append({
                "link": f"{quote(name)}.html" + (f"#{place[1]}" if place else ""),
                "title": html.unescape(re.sub("<[^>]+>", "", heading[2])).strip("¶ \n"),
                "text": " ".join(html.unescape(text).split())[:1500],
            })  # fmt: skip
    return found


def _write_api() -> str:
    """Write the pages of the API, made from docstrings by pdoc; body of its start page."""
    import pdoc  # slow, and needed here alone

    pdoc.render.configure(
        docformat="numpy", footer_text=f"nvlib {nvlib.__version__}",
        template_directory=Path(str(_SITE.joinpath("api"))),
    )  # fmt: skip
    modules = [info.name for info in pkgutil.walk_packages(nvlib.__path__, "nvlib.")]
    drawing = [f"artifact.figures.{info.name}" for info in pkgutil.iter_modules(figures.__path__)]
    with warnings.catch_warnings():  # pdoc's, of names that only type checkers import
        warnings.simplefilter("ignore", UserWarning)
        pdoc.pdoc("nvlib", *modules, *drawing, output_directory=REPORT / "api")
    parts = []
    for title, names in (("The simulator", ["nvlib", *modules]), ("Figures", drawing)):
        rows = "".join(
            f'<tr><th scope="row"><a href="{name.replace(".", "/")}.html">{name}</a></th>'
            f"<td>{_prose((import_module(name).__doc__ or '').splitlines()[0])}</td></tr>"
            for name in names
        )
        parts.append(f"<h2>{title}</h2>{_wide(f'<table>{rows}</table>')}")
    return (
        "<h1>API</h1><p>Every public name, from its docstring. Begin with "
        '<a href="nvlib.html">nvlib</a>: a network, hardware, a chip.</p>' + "".join(parts)
    )


def _notebook(path: Path, judged: list[dict[str, Any]]) -> str:
    """A notebook as a page; the verdicts that it comes to stand below its title."""
    notebook = nbformat.read(path, 4)
    alt = {origin.cell: origin.shows for origin in story.origins()}
    if judged:
        title, _, rest = notebook.cells[0].source.partition("\n")
        notebook.cells[0].source = f"{title}\n\n{_verdicts(judged, numbers=True)}\n\n{rest}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([\w/]+)\.ipynb\)", r"](\1.html)", _formulas(cell.source))
            continue
        begins = [what for start, what in FOLDED.items() if cell.source.startswith(start)]
        if "parameters" in cell.metadata.get("tags", []):
            begins = ["parameters"]
        if begins:
            cell.metadata.folded = begins[0]
        # Progress bars are no part of the story, and widgets need a kernel.
        cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
        if begins == [FOLDED[CHECK]]:
            cell.outputs = _checks(cell.outputs)
        for output in cell.outputs:
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in data:
                said = alt.get(cell.id) or _drawn_by(cell.source)
                output.metadata["image/png"] = {"alt": html.escape(said)}
    exporter = HTMLExporter(
        template_name="notebook", extra_template_basedirs=[str(_SITE)], exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    # What scrolls must be in reach of the keyboard.
    scrolls = r'<(pre|div class="[^"]*output_subarea[^"]*")(?=[ >])'
    return re.sub(scrolls, r'<\1 tabindex="0"', body)


def _checks(outputs: list[Any]) -> list[Any]:
    """What a check cell printed, as a list that needs no wide window."""
    lines = "".join(out.get("text", "") for out in outputs).splitlines()
    found = [(line, _CHECK.match(line)) for line in lines if line]
    items = "".join(
        f"<li><b>{check[2]}</b> {html.escape(check[1])}</li>" if check
        else f"<li>{html.escape(line)}</li>" for line, check in found
    )  # fmt: skip
    shown = {"text/html": f'<ul class="checks">{items}</ul>'}
    return [nbformat.v4.new_output("display_data", data=shown)]


def _drawn_by(source: str) -> str:
    """What a cell draws, from the docstring of the function that draws it."""
    modules = {"drawings": drawings, "figures": figures, "explorer": explorer}
    for module, name in re.findall(r"\b(drawings|figures|explorer)\.(\w+)\(", source):
        drawer = getattr(modules[module], name)
        if drawer.__doc__:
            return drawer.__doc__.splitlines()[0]
    return "What the cell above draws"


def _formulas(text: str) -> str:
    """Markdown with its formulas as MathML."""

    def convert(formula: re.Match) -> str:
        block, inline = formula.groups()
        shown = to_mathml(block or inline, display="block" if block else "inline")
        shown = shown.replace("\n", "")
        return f'<span class="formula" tabindex="0">{shown}</span>' if block else shown

    return _FORMULA.sub(convert, text)


def _prose(markdown: str) -> str:
    """Markdown of a notebook as HTML."""
    return str(mistune.html(_formulas(markdown)))


def _wide(table: str) -> str:
    return f'<div class="wide" tabindex="0" role="region" aria-label="Table">{table}</div>'


def _figure(origin: story.Origin, recorded: bool, deep: bool) -> str:
    """A picture with how to read it and where it comes from."""
    link, module = f"figures/{quote(origin.name)}", origin.function.rpartition(".")[0]
    name = origin.function.rpartition(".")[2]
    api = f"api/{module.replace('.', '/')}.html#{name}"
    there = (REPORT / "tables" / f"{origin.table}.csv").is_file()  # made, or recorded
    table = f'<a href="tables/{quote(origin.table)}.csv">table</a>, ' if there else ""
    whose = "As recorded. " if recorded else ""
    more = (
        f'<p>{whose}From its {table}<a href="{quote(origin.notebook)}.html#cell-id={origin.cell}">'
        f'notebook cell</a> and <a href="{api}">function</a>; <a href="{link}.pdf">PDF</a>.</p>'
    )
    return (
        f'<figure id="{html.escape(origin.name)}"><a href="{link}.png">'
        f'<img src="{link}.png" alt="{html.escape(origin.shows)}" loading="lazy"></a>'
        f"<figcaption>{_prose(origin.reading or origin.shows)}{more if deep else ''}</figcaption>"
        "</figure>"
    )


def _figures(run: Record, shown: dict[str, bool], questions: dict[str, str]) -> str:
    """Every figure in the order of the story, supplements last; tables are laid beside."""
    tables = REPORT / "tables"
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir(parents=True)
    known = [origin for origin in story.origins() if origin.name in shown]
    for name in {origin.table for origin in known if origin.table}:
        for place in (run, of_run(OTHER_TASK), committed(), committed(OTHER_TASK)):
            try:
                content = place.read(f"{name}.csv")
            except (AlteredError, FileNotFoundError):
                continue
            (tables / f"{name}.csv").write_bytes(content)
            break
    mains = {origin.name for origin in known}
    parts = ["<h1>Figures, in the order of the story</h1>"]
    for notebook, question in questions.items():
        of = [origin for origin in known if origin.notebook == notebook]
        first = [o for o in of if not any(supplement(name) == o.name for name in mains)]
        if of:
            parts.append(f'<h2 id="{notebook}"><a href="{quote(notebook)}.html">'
                         f"{html.escape(question)}</a></h2>")  # fmt: skip
            rest = [origin for origin in of if origin not in first]
            parts += [_figure(origin, shown[origin.name], True) for origin in first + rest]
    orphans = [name for name in shown if name not in mains]
    if orphans:
        links = ", ".join(
            f'<a href="figures/{quote(name)}.png">{html.escape(name)}</a>' for name in orphans
        )
        parts.append(f"<p>Drawn by no notebook as it is now: {links}.</p>")
    return "\n".join(parts)


def _table(table: pd.DataFrame) -> str:
    """A table whose rows are cards where the window is narrow, headed by their first cell."""
    heads = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table)
    rows = []
    for first, *others in table.astype(str).map(_cell).to_numpy():
        cells = "".join(
            f'<td data-label="{html.escape(str(name))}">{cell}</td>'
            for name, cell in zip(list(table)[1:], others, strict=True)
        )
        rows.append(f"<tr><td>{first}</td>{cells}</tr>")
    return _wide(f'<table class="cards"><thead><tr>{heads}</tr></thead>'
                 f"<tbody>{''.join(rows)}</tbody></table>")  # fmt: skip


def _cell(text: str) -> str:
    """Typeset, and no line begins with a unit."""
    return html.escape(re.sub(r"(?<=\d) (?=[%×])", "\u00a0", typeset(text)))


def _beside(beside: pd.DataFrame) -> str:
    told = f"{compare.counted(beside)}." if len(beside) else "This run made nothing to compare."
    return (
        f"<h1>Does this run agree with the record?</h1><p>{told}</p><p>Points computed with the "
        "same parameters must be equal; claims must have the same verdict, and intervals that "
        f"overlap. What cannot be compared says what differs.</p>{_table(beside)}"
    )


def _verdicts(judged: list[dict[str, Any]], numbers: bool = False) -> str:
    """A card for each claim: how it came out and, where asked, ours beside the paper's."""
    items = []
    for claim in judged:
        sign, kind = publish.mark(claim)
        told = f"{publish.short(claim['id'])}: {claim['verdict']}"
        if numbers and publish.beside(claim):
            told += f" ({publish.beside(claim)})"
        items.append(f'<li class="{kind}"><b>{sign}</b> {html.escape(told)}</li>')
    return f'<ul class="verdicts{" long" if numbers else ""}">{"".join(items)}</ul>'


def _index(
    environment: dict[str, str], judged: list[dict[str, Any]], whose: str,
    shown: dict[str, bool], questions: dict[str, str],
) -> str:  # fmt: skip
    """Body of the first page: the verdict, then the way through."""
    table = claims.table(judged)
    table["verdict"] = [f"{publish.mark(claim)[0]} {claim['verdict']}" for claim in judged]
    table["claim"] += ": " + table["what"]
    table = table[["claim", "verdict", "paper", "ours", "95 % interval"]]
    facts = "".join(
        f'<tr><th scope="row">{html.escape(key)}</th><td>{html.escape(value)}</td></tr>'
        for key, value in environment.items()
    )
    links = "".join(
        f'<li><a href="{quote(name)}.html">{html.escape(text)}</a></li>'
        for name, text in questions.items()
    )
    first = next(
        (o for o in story.origins() if o.name == publish.PICTURE and o.name in shown), None
    )
    picture = _figure(first, shown[first.name], False) if first else ""
    return f"""<h1>Quantized CNNs on NVM crossbars: does the paper hold?</h1>
<p>{html.escape(publish.answer(judged))}</p>
{_verdicts(judged)}
<p>A crossbar of non-volatile memory (NVM) cells multiplies by a matrix where the matrix is stored;
analogue-to-digital converters (ADCs) read its columns, and take much of the energy. W4A3 is a
network of 4-bit weights and 3-bit activations. <em>Paper</em> is what the abstract of
<a href="https://doi.org/10.3389/felec.2022.954661">Bao et al. 2022</a> states; all else is our
reconstruction. New to crossbars? Begin with <a href="00_overview.html">one digit on a crossbar</a>.
Or look at all <a href="figures.html">figures</a>, move the sliders of the
<a href="explorer.html">explorer</a>, see <a href="beside.html">whether this run agrees with the
record</a>.</p>
{picture}
<h2 id="claims">Claims, {whose}</h2>{_table(table)}
<h2 id="notebooks">Notebooks, one question each</h2><ol start="0">{links}</ol>
<h2 id="run">This run</h2>{_wide(f'<table class="facts">{facts}</table>')}"""


_EXPLORER = """<h1>What would another chip do?</h1>
<p id="said" aria-live="polite"></p>
<div class="explorer" id="controls"></div>
<svg id="drawn" viewBox="0 0 360 190" role="img" aria-label="Energy of an inference by component,
without and with sparsity" style="width:100%;max-width:28rem"></svg>
<p>LeNet-5 on 128 × 128 arrays that take their inputs bit by bit, evaluated beforehand at every
setting of these sliders. <em>Variation</em> is the spread of the cells as written, a share of their
conductance range. The two laws say what a converter takes that decides all of its bits, and what is
left of that where the zeros let it stop early; <a href="05_adc_reduction.html">notebook 05</a>
compares them. In JupyterLab <a href="07_explorer.html">notebook 07</a> evaluates any setting, and a
network of your own.</p>
<script src="explorer-grid.js"></script><script src="explorer.js"></script>"""
