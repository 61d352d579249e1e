"""The report: claims, figures and notebooks as pages in ``build/report``, with nbconvert.

The pages stand alone: pictures lie beside them, formulas are MathML, nothing is fetched.
"""

from __future__ import annotations

import html
import pkgutil
import re
import shutil
from functools import partial
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd
from jinja2 import Environment
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

import nvlib
from artifact import claims
from artifact.paths import NOTEBOOKS, REPORT
from artifact.record import Record, committed
from nvlib.storage import write_text

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?(?:\n[^$\n]+?)?)\$(?!\d)", re.DOTALL)


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
    names = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    pages = [("index", "Report"), *((name, name.replace("_", " ")) for name in names)]
    page = partial(_page, pages=pages)
    recorded = {path.name: path for path in committed().pictures()}
    pictures = recorded | {path.name: path for path in run.pictures()}
    folder = REPORT / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        shutil.copyfile(picture, folder / name)
    for name in names:
        source = run.notebooks / f"{name}.ipynb"
        source = source if source.is_file() else NOTEBOOKS / f"{name}.ipynb"
        page(name, _notebook(source))
    _write_api()
    shown = {
        Path(name).stem: path == recorded.get(name)
        for name, path in sorted(pictures.items())
        if path.suffix == ".png"
    }
    return page("index", _index(environment, run, beside, shown, pages[1:]))


def _write_api() -> None:
    """Pages of the API, made from its docstrings by pdoc."""
    import pdoc  # slow, and needed here alone

    pdoc.render.configure(docformat="numpy", footer_text=f"nvlib {nvlib.__version__}")
    modules = [f"nvlib.{info.name}" for info in pkgutil.iter_modules(nvlib.__path__)]
    pdoc.pdoc("nvlib", "!nvlib", *modules, output_directory=REPORT / "api")


def _page(name: str, body: str, pages: list[tuple[str, str]]) -> Path:
    template = Environment(autoescape=True).from_string(
        files("artifact").joinpath("report.html").read_text("utf-8")
    )
    text = template.render(
        title=dict(pages)[name], pages=pages, current=name, body=body,
        highlight=HtmlFormatter().get_style_defs(".highlight"),
    )  # fmt: skip
    path = REPORT / f"{name}.html"
    write_text(path, text)
    return path


def _notebook(path: Path) -> str:
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _FORMULA.sub(_mathml, cell.source)
            cell.source = re.sub(r"\]\(([\w/]+)\.ipynb\)", r"](\1.html)", cell.source)
        else:  # progress bars are no part of the story
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
            for output in cell.outputs:  # and widgets need a kernel
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    return body


def _mathml(formula: re.Match) -> str:
    block, inline = formula.groups()
    return to_mathml(block or inline, display="block" if block else "inline").replace("\n", "")


def _figure(name: str, recorded: bool) -> str:
    """A picture by the name of its files, which may hold anything."""
    text, link = html.escape(name.replace("_", " ")), f"figures/{quote(name)}"
    return (
        f'<figure id="{html.escape(name)}"><a href="{link}.png">'
        f'<img src="{link}.png" alt="{text}"></a>'
        f"<figcaption>{text}{', as recorded' if recorded else ''} "
        f'(<a href="{link}.pdf">PDF</a>; the picture opens at full size)</figcaption></figure>'
    )


def _index(
    environment: dict[str, str], run: Record, beside: pd.DataFrame, pictures: dict[str, bool],
    notebooks: list[tuple[str, str]],
) -> str:  # fmt: skip
    """Body of the first page; `pictures` tells of each whether it is the recorded one."""
    judged = claims.read(run)
    whose = "of this run" if judged else "as recorded: this run judged none"
    table = claims.table(judged or claims.read_unaltered()).to_html(index=False, border=0)
    compared = beside.to_html(index=False, border=0) if len(beside) else "<p>No table.</p>"
    figures = "\n".join(_figure(name, recorded) for name, recorded in pictures.items())
    facts = "\n".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
        for key, value in environment.items()
    )
    links = "\n".join(
        f'<li><a href="{quote(name)}.html">{html.escape(text)}</a></li>' for name, text in notebooks
    )
    return f"""<h1>Quantized CNNs on NVM crossbars: report of a run</h1>
<p><em>Paper</em> is what the abstract of doi:10.3389/felec.2022.954661 states; all else is our
reconstruction.</p>
<h2>Claims, {whose}</h2><div class="wide">{table}</div>
<h2 id="beside">This run beside the record</h2><div class="wide">{compared}</div>
<h2>Notebooks</h2><ul>{links}</ul>
<p><a href="api/index.html">API</a>: every module to build on, from its docstrings.</p>
<h2>Figures</h2>{figures}
<h2>This run</h2><div class="wide"><table>{facts}</table></div>"""
