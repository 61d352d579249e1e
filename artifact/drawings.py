"""Drawings of the things that the notebooks model; every number comes from the simulator."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from IPython.display import SVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from artifact.figures.style import COLOURS, INK, PAGE, QUIET, direct_label, new_figure
from nvlib.chip import Chip
from nvlib.converters import Nonlinearity, adc_transitions, measure_adc
from nvlib.devices import DeviceModel, Effect, ProportionalVariation, RangeVariation
from nvlib.energy import EnergyTable
from nvlib.mapping import ArrayMapping, map_weights
from nvlib.quantizers import Precision, to_codes, weight_codes
from nvlib.sparsity import resolved_bits

BLUE, ORANGE = COLOURS["W8A8"], COLOURS["W4A3"]


@dataclass(frozen=True)
class Column:
    """One output of a small layer on its pair of columns, bit plane by bit plane.

    Parameters
    ----------
    weights : tuple of int
        Weight codes q, one a row.
    inputs : tuple of int
        Activation codes x, one a row.
    precision : Precision
        A weight's magnitude fills one cell.

    Examples
    --------
    >>> column = Column()
    >>> column.levels.tolist()
    [[3, 0], [0, 1], [0, 0], [2, 0]]
    >>> column.codes.tolist(), column.product
    ([[0, 1], [3, 1]], 3)
    """

    weights: tuple[int, ...] = (3, -1, 0, 2)
    inputs: tuple[int, ...] = (2, 3, 1, 0)
    precision: Precision = Precision(3, 2)

    @property
    def mapping(self) -> ArrayMapping:
        """Two columns, and as many rows as there are weights."""
        bits = self.precision.weight_bits - 1
        return ArrayMapping(rows=len(self.weights), columns=2, cell_bits=bits)

    @property
    def levels(self) -> np.ndarray:
        """Levels of the cells (rows, 2): columns of the positive and the negative polarity."""
        matrix = np.array(self.weights)[:, None]
        return map_weights(matrix, self.precision, self.mapping).levels[..., 0]

    @property
    def conductances_us(self) -> np.ndarray:
        """Conductances of the cells, in uS, of the cell of the energy table without G_off."""
        on = 1e6 * EnergyTable.load().on_conductance
        return on * self.levels / self.mapping.level_max

    @property
    def bits(self) -> np.ndarray:
        """Bits of the inputs (planes, rows), the least significant plane first."""
        planes = range(self.mapping.planes(self.precision))
        return np.array([[x >> plane & 1 for x in self.inputs] for plane in planes])

    @property
    def currents_ua(self) -> np.ndarray:
        """Currents of the columns (planes, 2), in uA: sums of voltage times conductance."""
        return EnergyTable.load().read_voltage * self.bits @ self.conductances_us

    @property
    def codes(self) -> np.ndarray:
        """Codes of a converter whose LSB is the current of one level step (planes, 2)."""
        table = EnergyTable.load()
        step = 1e6 * table.read_voltage * table.on_conductance / self.mapping.level_max
        return np.rint(self.currents_ua / step).astype(int)

    @property
    def product(self) -> int:
        """What digital logic makes of the codes: the sum of x times q."""
        differences = self.codes[:, 0] - self.codes[:, 1]
        return int((differences << np.arange(len(differences))).sum())


def array(column: Column | None = None) -> SVG:
    """Draw the array once for each bit plane, from input bits to the product.

    Examples
    --------
    >>> array().data.startswith("<svg")
    True
    """
    column = column or Column()
    width, rows = 330, len(column.weights)
    panels = [_plane(column, plane, 10 + width * plane) for plane in range(len(column.bits))]
    height, across = 250 + 46 * rows, width * len(panels)
    terms = " + ".join(
        f"{2**plane} × ({plus} − {minus})" for plane, (plus, minus) in enumerate(column.codes)
    )
    direct = " + ".join(f"{x} × {q}" for x, q in zip(column.inputs, column.weights, strict=True))
    total = (
        f"shift and add: {terms} = {column.product}",
        f"the integer product itself: {direct} = {column.product}".replace("-", "−"),
    )
    lines = [_text(20, height - 42 + 22 * i, line, "start", 15) for i, line in enumerate(total)]
    said = f"A crossbar of {rows} rows and 2 columns, read in {len(panels)} bit planes: {total[0]}"
    body = "".join([*panels, *lines])
    return SVG(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {height}" role="img" '
        f'aria-label="{escape(said)}" font-family="sans-serif" style="max-width:{across}px;'
        f'width:100%;background:white">{body}</svg>'
    )


def _plane(column: Column, plane: int, left: float) -> str:
    """The array while one bit plane is read: active rows and the currents they make stand out."""
    rows, lines = len(column.weights), (left + 140, left + 235)
    bottom = 70 + 46 * rows
    parts = [_text(left + 10, 22, f"bit plane {plane}: counts {2**plane} ×", "start", 15)]
    parts += [_text(x, 46, f"{sign} column", "middle", 12, colour)
              for x, sign, colour in zip(lines, "+−", (BLUE, ORANGE), strict=True)]  # fmt: skip
    for row in range(rows):
        y, bit = 78 + 46 * row, column.bits[plane][row]
        ink = INK if bit else "#B9B9B9"
        parts.append(_line(left + 62, y, left + 275, y, ink, 2.4 if bit else 1))
        parts.append(_text(left + 8, y + 4, f"x={column.inputs[row]}", "start", 12, QUIET))
        parts.append(_text(left + 46, y + 5, str(bit), "middle", 16, ink))
        for x, level, conductance in zip(
            lines, column.levels[row], column.conductances_us[row], strict=True
        ):
            shade = 96 - 22 * level
            parts.append(
                f'<rect x="{x - 24}" y="{y - 17}" width="48" height="34" rx="5" '
                f'fill="hsl(215,45%,{shade}%)" stroke="{ink}" stroke-width="{2 if bit else 1}"/>'
            )
            write = "white" if shade < 55 else INK
            parts.append(_text(x, y - 2, f"g = {level}", "middle", 11.5, write))
            parts.append(_text(x, y + 12, f"{conductance:.1f} µS", "middle", 11, write))
        q = f"q = {column.weights[row]}".replace("-", "−")
        parts.append(_text(left + 282, y + 4, q, "start", 12, QUIET))
    for x, colour, current, code in zip(
        lines, (BLUE, ORANGE), column.currents_ua[plane], column.codes[plane], strict=True
    ):
        parts.append(_line(x, 54, x, 61, colour, 2))
        parts.append(_line(x, bottom - 14, x, bottom + 8, colour, 2))
        parts.append(_text(x, bottom + 23, f"I = {current:.2f} µA", "middle", 12, colour))
        parts.append(_line(x, bottom + 30, x, bottom + 42, colour, 2))
        parts.append(
            f'<rect x="{x - 30}" y="{bottom + 42}" width="60" height="26" rx="4" fill="white" '
            f'stroke="{colour}" stroke-width="1.6"/>'
        )
        parts.append(_text(x, bottom + 60, f"code {code}", "middle", 13, colour))
    parts.append(_text(left + 8, bottom + 60, "ADC", "start", 12, QUIET))
    plus, minus = column.codes[plane]
    difference = f"{plus} − {minus} = {plus - minus}".replace("= -", "= −")
    parts.append(_text(sum(lines) / 2, bottom + 92, difference, "middle", 15))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str, size: float, colour: str = INK) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size:g}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
        f'stroke-width="{width:g}"/>'
    )


def layout(chip: Chip) -> Figure:
    """Arrays of each layer of a network as squares, filled as far as weights reach.

    Examples
    --------
    >>> from nvlib import Hardware, example_network
    >>> layout(Chip(example_network(), Hardware())).get_suptitle()
    '32 arrays of 128 × 128 cells hold 5 layers; weights reach 70 % of the cells'
    """
    mapping, layers = chip.hardware.mapping, []
    for arrays in chip.arrays:
        inputs, columns_per_output, outputs = arrays.conductance.shape
        columns = columns_per_output * outputs
        heights, widths = (
            [min(lines - start, most) / most for start in range(0, lines, most)]
            for lines, most in ((inputs, mapping.rows), (columns, mapping.columns))
        )
        parts = list(itertools.product(heights, widths))
        layers.append((f"{arrays.layer.spec.name}: {inputs} × {outputs}", parts))
    filled = [height * width for _, parts in layers for height, width in parts]
    title = (
        f"{len(filled)} arrays of {mapping.rows} × {mapping.columns} cells hold {len(layers)} "
        f"layers; weights reach {100 * np.mean(filled):.0f} % of the cells"
    )
    half, most = -(-len(layers) // 2), max(len(parts) for _, parts in layers)
    figure, panels = new_figure(PAGE, 0.5 + 0.3 * half, 1, 2, title=title)
    for axes, shown in zip(panels, (layers[:half], layers[half:]), strict=True):
        for line, (_, parts) in enumerate(shown):
            for place, (height, width) in enumerate(parts):
                x, y = 1.2 * place, -1.2 * line
                axes.add_patch(Rectangle((x, y + 1 - height), width, height, color=BLUE))
                axes.add_patch(Rectangle((x, y), 1, 1, fill=False, ec=QUIET, lw=0.8))
        axes.set_yticks([0.5 - 1.2 * line for line in range(len(shown))], [n for n, _ in shown])
        axes.set(xlim=(-0.1, 1.2 * most), ylim=(-1.2 * half + 1.1, 1.1), aspect="equal", anchor="W",
                 xticks=[])  # fmt: skip
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def bit_planes(codes: np.ndarray, bits: int) -> Figure:
    """Codes of an image, and each of its bit planes; black is a one, and the zeros are counted.

    Examples
    --------
    >>> bit_planes(np.array([[0, 5], [2, 0]]), 3).get_suptitle()
    'Of 12 bits in 3 planes 75 % are zero: rows that draw no current'
    """
    planes = [codes >> plane & 1 for plane in range(bits)]
    zeros = [1 - plane.mean() for plane in planes]
    title = (
        f"Of {codes.size * bits} bits in {bits} planes {100 * np.mean(zeros):.0f} % are zero: "
        "rows that draw no current"
    )
    figure, panels = new_figure(PAGE, 1.9, 1, bits + 1, title=title)
    panels[0].imshow(codes, cmap="gray_r", vmin=0, vmax=2**bits - 1)
    panels[0].set_title("codes")
    for weight, (axes, plane, share) in enumerate(zip(panels[:0:-1], planes, zeros, strict=True)):
        axes.imshow(plane, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"plane {weight}: {100 * share:.0f} % zero")
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def sar_tree(adc_bits: int, code: int, bound: int) -> Figure:
    """A successive-approximation conversion as a decision tree, in full and under a bound.

    Parameters
    ----------
    adc_bits : int
        Resolution B.
    code : int
        What the conversion finds.
    bound : int
        Largest code that is possible, as the controller knows before it starts.

    Examples
    --------
    >>> sar_tree(4, 2, 3).get_suptitle()
    'No code above 3 is possible: 2 decisions instead of 4 find code 2'
    """
    needed = int(resolved_bits(np.array(bound), 1.0, adc_bits))
    title = (f"No code above {bound} is possible: {needed} decisions instead of {adc_bits} find "
             f"code {code}")  # fmt: skip
    figure, axes = new_figure(PAGE, 2.6, title=title)
    for depth in range(adc_bits):
        width = 2 ** (adc_bits - depth)
        for first in range(0, 2**adc_bits, width):
            for half in (0, 1):
                start = first + half * width // 2
                taken = start <= code < start + width // 2
                inside = depth >= adc_bits - needed and first < 2**needed
                colour = (ORANGE if inside else BLUE) if taken else "#CFCFCF"
                axes.plot(
                    (first + width / 2 - 0.5, start + width / 4 - 0.5), (-depth, -depth - 1),
                    color=colour, lw=2.6 if taken else 0.8, zorder=2 if taken else 1,
                    ls=":" if taken and not inside else "-",
                )  # fmt: skip
            if first <= code < first + width:
                axes.text(first + width / 2 - 0.5, -depth, f"≥ {first + width // 2}?", ha="center",
                          va="center", fontsize=7, color=INK, zorder=3,
                          bbox={"fc": "white", "ec": "none", "pad": 1.5})  # fmt: skip
    for leaf in range(2**adc_bits):
        axes.text(leaf, -adc_bits - 0.3, str(leaf), ha="center", va="center", fontsize=7,
                  color=ORANGE if leaf == code else INK if leaf <= bound else "#9A9A9A",
                  fontweight="bold" if leaf == code else "normal")  # fmt: skip
    axes.text(2**adc_bits - 0.6, 0.1, "dotted: spared", ha="right", color=BLUE)
    axes.text(2**adc_bits - 0.6, -0.35, "solid: decided", ha="right", color=ORANGE)
    axes.set(xlim=(-1, 2**adc_bits), ylim=(-adc_bits - 0.6, 0.4))
    axes.set_axis_off()
    return figure


def conversion(adc_bits: int, code: int, bound: int) -> Figure:
    """Thresholds of one conversion cycle by cycle, in full and started below a bound.

    Examples
    --------
    >>> conversion(8, 5, 12).get_suptitle()
    'The sum cannot exceed 12: 4 comparisons instead of 8, the same code 5'
    """
    needed = int(resolved_bits(np.array(bound), 1.0, adc_bits))
    title = (f"The sum cannot exceed {bound}: {needed} comparisons instead of {adc_bits}, the same "
             f"code {code}")  # fmt: skip
    figure, axes = new_figure(PAGE, 2.2, title=title)
    for bits, colour, marker, name in (
        (adc_bits, BLUE, "o", f"all {adc_bits} bits"), (needed, ORANGE, "^", "below the bound"),
    ):  # fmt: skip
        thresholds, found = [], 0
        for bit in reversed(range(bits)):
            thresholds.append(found + 2**bit)
            found += 2**bit * (code >= found + 2**bit)
        assert found == code
        cycles = range(1, bits + 1)
        axes.plot(cycles, thresholds, color=colour, marker=marker, drawstyle="steps-mid")
        direct_label(axes, 1, thresholds[0], name, colour, xytext=(6, 6))
    axes.axhline(code, color=INK, lw=0.8, ls=":")
    direct_label(axes, adc_bits, code, f"input {code}", INK, xytext=(-2, -7), ha="right")
    axes.set(xlabel="comparison", ylabel="threshold (LSB)", yscale="symlog",
             ylim=(0, 2**adc_bits))  # fmt: skip
    axes.set_xticks(range(1, adc_bits + 1))
    ticks = [0, *(2**k for k in range(0, adc_bits, 2))]
    axes.set_yticks(ticks, map(str, ticks))
    return figure


def quantizer(precision: str = "W4A3") -> Figure:
    """Staircases of the quantizers of weights and activations.

    Examples
    --------
    >>> quantizer("W4A3").get_suptitle()
    '4 bits give a weight 15 values, 3 bits give an activation 8'
    """
    of = Precision.parse(precision)
    values = torch.linspace(-10, 10, 4001)
    weights = weight_codes(values, torch.tensor(1.0), of.weight_bits)
    activations = to_codes(values, 1.0, 0, of.activation_max)
    counts = [len(set((codes + 0.0).tolist())) for codes in (weights, activations)]
    title = (f"{of.weight_bits} bits give a weight {counts[0]} values, {of.activation_bits} bits "
             f"give an activation {counts[1]}")  # fmt: skip
    figure, panels = new_figure(PAGE, 2.1, 1, 2, title=title)
    for axes, codes, colour, symbol, name in (
        (panels[0], weights, BLUE, "w", "weight"),
        (panels[1], activations, ORANGE, "x", "activation"),
    ):  # fmt: skip
        axes.plot(values, values, color=QUIET, lw=0.8, ls=":")
        axes.plot(values, codes, color=colour)
        axes.set(xlabel=f"{name} ${symbol}/s_{symbol}$", ylabel=f"code $q_{symbol}$",
                 ylim=(codes.min() - 1, codes.max() + 1.5))  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def programmed_levels(sigma: float = 0.1, cell_bits: int = 2, cells: int = 20_000) -> Figure:
    """Histograms of written cells under the two kinds of variation, as shares of the range.

    Examples
    --------
    >>> programmed_levels(0.1, 2, 100).get_suptitle()
    'The same σ = 0.1 blurs every level alike, or the high levels most'
    """
    title = f"The same σ = {sigma:g} blurs every level alike, or the high levels most"
    figure, panels = new_figure(PAGE, 2.0, 1, 2, title=title, sharey=True)
    most = 2**cell_bits - 1
    edges = np.linspace(-0.3, 1.5, 91)
    kinds: dict[str, Effect] = {
        "range variation": RangeVariation(sigma),
        "proportional variation": ProportionalVariation(sigma),
    }
    for axes, (name, effect) in zip(panels, kinds.items(), strict=True):
        model = DeviceModel(effects=(effect,))
        for level in range(most + 1):
            generator = np.random.default_rng(level)
            held = model.program(np.full(cells, level), most, generator) / most
            axes.hist(held, edges, color=("#5B8FD9", "#DDDDDD")[level % 2], ec=INK, lw=0.8,
                      histtype="stepfilled", alpha=0.7)  # fmt: skip
            axes.axvline(level / most, color=INK, lw=0.7, ls=":")
            axes.text(level / most, 3 * cells, f"$g = {level}$", ha="center")
        axes.set(title=name, yscale="log", ylim=(0.7, 9 * cells),
                 xlabel="conductance (share of $G_\\mathrm{on}$)")  # fmt: skip
    panels[0].set(ylabel=f"cells of {cells:,} a level")
    return figure


def transfer_curve(bits: int = 3, inl_lsb: float = 0.8, seed: int = 3) -> Figure:
    """Staircase of an ideal and of a nonlinear converter, and where they differ.

    Examples
    --------
    >>> transfer_curve(3, 0.8).get_suptitle()
    'With an INL of 0.80 LSB the same input gives another code'
    """
    drawn = Nonlinearity(inl_lsb=inl_lsb, shape="random-walk", monotone=False)
    ideal = adc_transitions(bits, Nonlinearity(), np.random.default_rng(seed))
    real = adc_transitions(bits, drawn, np.random.default_rng(seed))
    measured = measure_adc(real)
    title = f"With an INL of {measured.inl_lsb:.2f} LSB the same input gives another code"
    figure, (left, right) = new_figure(PAGE, 2.3, 1, 2, title=title, width_ratios=(1.4, 1))
    inputs = np.linspace(-0.5, 2**bits - 0.5, 2000)
    stairs = [np.searchsorted(curve, inputs, side="right") for curve in (ideal, real)]
    left.fill_between(inputs, *stairs, color=ORANGE, alpha=0.25, lw=0, step="mid")
    for codes, colour, name, place in zip(
        stairs, (BLUE, ORANGE), ("ideal", "nonlinear"), (0.92, 0.8), strict=True
    ):
        left.plot(inputs, codes, color=colour)
        left.text(0.03, place, name, color=colour, transform=left.transAxes)
    left.set(xlabel="column sum (LSB)", ylabel="code")
    right.axhline(0, color=BLUE)
    right.plot(range(1, 2**bits), measured.inl, color=ORANGE, marker="^")
    right.set(xlabel="transition level $k$", ylabel="INL$[k]$ (LSB)")
    right.set_xticks(range(1, 2**bits))
    return figure
