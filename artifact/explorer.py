"""One setting of the hardware, evaluated and drawn in a moment; sliders that change it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import nn

from artifact import data
from artifact.checkpoints import CheckpointName, load_float, read_manifest
from artifact.figures.style import (
    COLOURS,
    COMPONENT_COLOURS,
    INK,
    PAGE,
    answer,
    new_figure,
    note,
)
from artifact.paths import ROOT
from artifact.recipes import CALIBRATION_IMAGES
from artifact.statistics import wilson_interval
from artifact.studies import common
from nvlib.checks import require_integer, require_number
from nvlib.chip import Chip, calibrate
from nvlib.converters import Adc
from nvlib.devices import DeviceModel, RangeVariation
from nvlib.energy import (
    COMPONENTS,
    DESIGN_LAWS,
    PARTIAL_LAWS,
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
)
from nvlib.events import LayerEvents
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.network import QuantizedNetwork
from nvlib.quantization import quantize
from nvlib.quantizers import MAX_BITS, Precision
from nvlib.sparsity import ALL_POLICIES

EVENT_IMAGES = 20
ROWS = (32, 64, 128, 256)


@dataclass(frozen=True)
class Setting:
    """What the sliders say.

    Parameters
    ----------
    weight_bits, activation_bits : int
    rows : int
        Rows and columns of an array.
    cell_bits : int
    adc_bits : int
        The full scale is calibrated.
    variation : float
        Programming error, as a share of the conductance range.
    design, partial : str
        Names of ADC laws; see `nvlib.energy`.

    Examples
    --------
    >>> Setting().precision
    Precision(weight_bits=4, activation_bits=3)
    """

    weight_bits: int = 4
    activation_bits: int = 3
    rows: int = 128
    cell_bits: int = 1
    adc_bits: int = 4
    variation: float = 0.0
    design: str = "walden"
    partial: str = "sar-cycles"

    def __post_init__(self) -> None:
        require_integer("adc_bits", self.adc_bits, 1, 10)
        require_number("variation", self.variation, highest=1)
        _ = self.precision, self.mapping, self.law  # each refuses what it cannot be

    @property
    def precision(self) -> Precision:
        """Bits of weights and activations."""
        return Precision(self.weight_bits, self.activation_bits)

    @property
    def mapping(self) -> ArrayMapping:
        """Square arrays, bit-serial inputs."""
        return ArrayMapping(rows=self.rows, columns=self.rows, cell_bits=self.cell_bits)

    @property
    def law(self) -> AdcLaw:
        """Energy of conversions."""
        return AdcLaw(self.design, self.partial)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a setting gives.

    Attributes
    ----------
    correct, ideal_correct, images : int
        Right answers of the chip, and of the same network without hardware.
    trained : str
        How the network was quantized.
    before, after : dict
        Energy per inference by component in pJ, without and with the sparsity policies.
    label : str
        What the images are, where they are not MNIST's test images.
    """

    correct: int
    ideal_correct: int
    images: int
    trained: str
    before: dict[str, float]
    after: dict[str, float]
    label: str


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to look at, at any precision, and the images it is judged by.

    Attributes
    ----------
    network : callable
        Precision -> quantized network, and how it was quantized.
    images, labels : ndarray
        Of the test.
    calibration : ndarray
        Training images that converters are calibrated on.
    label : str
        What the images are, where nothing may be set beside the paper.
    devices : DeviceModel
        Cells of your own; the variation that a slider sets comes on top.
    """

    network: Callable[[Precision], tuple[QuantizedNetwork, str]]
    images: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    label: str = ""
    devices: DeviceModel = DeviceModel()


@lru_cache(maxsize=8)
def shipped(
    dataset: str = "auto", images: int = 1000, checkpoints: str = common.SHIPPED
) -> Subject:
    """The artifact's LeNet-5, of a folder of networks, and the first test images of a data set.

    Examples
    --------
    >>> shipped("embedded", 50).network(Precision(4, 3))[1]
    'trained with quantization'
    """
    digits = data.load(dataset)
    pixels, labels = common.test_images(digits.name, images)
    calibration = digits.train_images[:CALIBRATION_IMAGES]

    @lru_cache(maxsize=64)
    def network(precision: Precision) -> tuple[QuantizedNetwork, str]:
        name = CheckpointName(digits.name, "lenet5", precision, 0)
        folder = ROOT / checkpoints
        if name.path.as_posix() in read_manifest(folder):
            net = common.network(digits.name, str(precision), checkpoints=checkpoints)
            return net, "trained with quantization"
        floating = load_float(CheckpointName(digits.name, "lenet5", None, 0), folder)
        return quantize(floating, calibration, precision, input_max=1.0), "quantized after training"

    return Subject(network, pixels, labels, calibration, "" if digits.comparable else digits.label)


def of_model(model: nn.Module, calibration: Any, images: Any, labels: Any) -> Subject:
    """A float network of your own, quantized after training at each precision asked for.

    Parameters
    ----------
    model : Module
        Anything that `nvlib.quantize` takes.
    calibration, images : array
        Training images to calibrate on, some hundred; test images.
    labels : array
        Of the test images.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> x = np.random.default_rng(0).random((64, 1, 2, 2), np.float32)
    >>> evaluate(Setting(), of_model(model, x, x, np.zeros(64))).images
    64
    """

    @lru_cache(maxsize=64)
    def network(precision: Precision) -> tuple[QuantizedNetwork, str]:
        return quantize(model, calibration, precision), "quantized after training"

    return Subject(network, images, np.asarray(labels), calibration, "a network of your own")


@lru_cache(maxsize=128)
def _hardware(subject: Subject, precision: Precision, mapping: ArrayMapping, bits: int) -> Hardware:
    """Ideal cells, and converters calibrated where they do not cover the array."""
    hardware = Hardware(mapping, adc=Adc(bits=bits))
    if 2**bits - 1 >= mapping.largest_sum:
        return hardware
    return calibrate(subject.network(precision)[0], hardware, subject.calibration)


@lru_cache(maxsize=128)
def _events(subject: Subject, precision: Precision, hardware: Hardware) -> list[LayerEvents]:
    return Chip(subject.network(precision)[0], hardware).events(subject.images[:EVENT_IMAGES])


@lru_cache(maxsize=128)
def _ideal_correct(subject: Subject, precision: Precision) -> int:
    predicted = subject.network(precision)[0].predict(subject.images)
    return int((predicted == subject.labels).sum())


@lru_cache(maxsize=256)
def _correct(subject: Subject, precision: Precision, hardware: Hardware, variation: float) -> int:
    effects = (RangeVariation(variation),) if variation else ()
    own = subject.devices
    varied = replace(hardware, devices=replace(own, effects=own.effects + effects))
    predicted = Chip(subject.network(precision)[0], varied).predict(subject.images)
    return int((predicted == subject.labels).sum())


def evaluate(setting: Setting, subject: Subject) -> Evaluation:
    """Accuracy, and energy with and without the sparsity policies.

    Examples
    --------
    >>> found = evaluate(Setting(), shipped("embedded", 50))
    >>> found.correct, found.trained
    (50, 'trained with quantization')
    """
    precision, table = setting.precision, EnergyTable.load()
    hardware = _hardware(subject, precision, setting.mapping, setting.adc_bits)
    correct = _correct(subject, precision, hardware, setting.variation)
    events = _events(subject, precision, hardware)
    before, after = (
        inference_energy(events, policies, setting.adc_bits, setting.law, table)
        for policies in ((), ALL_POLICIES)
    )
    return Evaluation(
        correct, _ideal_correct(subject, precision), len(subject.labels),
        subject.network(precision)[1], before, after, subject.label,
    )  # fmt: skip


def lost(settings: Sequence[Setting], found: Sequence[Evaluation]) -> str:
    """Points of accuracy that chips of the same cells lose to their integer networks.

    Examples
    --------
    >>> lost([Setting()], [evaluate(Setting(), shipped("embedded", 50))])
    'On cells that vary by 0, a chip of W4A3 loses 0.0 points.'
    """
    parts = [
        f"of {setting.precision} loses {100 * (one.ideal_correct - one.correct) / one.images:.1f}"
        for setting, one in zip(settings, found, strict=True)
    ]
    return f"On cells that vary by {settings[0].variation:g}, a chip {', one '.join(parts)} points."


def draw(setting: Setting, found: Evaluation) -> Figure:
    """Accuracy, ADC saving and energy by component, side by side.

    Examples
    --------
    >>> figure = draw(Setting(), evaluate(Setting(), shipped("embedded", 50)))
    >>> len(figure.subfigs[0].axes)
    3
    """
    figure, (left, middle, right) = new_figure(PAGE, 2.5, 1, 3, width_ratios=(0.8, 0.8, 1.6))
    # The same margins for every setting: to find them anew takes half of the time of a redraw.
    figure.set_layout_engine("none")
    left.get_gridspec().update(left=0.08, bottom=0.24, right=0.985, top=0.82, wspace=0.36)
    accuracies = np.array([found.ideal_correct, found.correct]) / found.images
    bounds = np.array(
        [wilson_interval(count, found.images) for count in (found.ideal_correct, found.correct)]
    )
    errors = 100 * np.abs(bounds.T - accuracies)
    left.bar((0, 1), 100 * accuracies, 0.6, color=("#BBBBBB", COLOURS["W8A8"]))
    left.errorbar((0, 1), 100 * accuracies, yerr=errors, fmt="none", color="black", capsize=2)
    for place, (share, upper) in enumerate(zip(accuracies, bounds[:, 1], strict=True)):
        inside = share > 0.6  # where the number has room in the bar
        left.annotate(f"{100 * share:.1f}", (place, 45 if inside else 100 * upper + 3),
                      ha="center", color=INK if place == 0 or not inside else "white")  # fmt: skip
    left.set_xticks((0, 1), ("integer", "chip"))
    left.set(ylabel=f"accuracy (%), {found.images} images", ylim=(0, 100))
    saved = adc_saving(found.before, found.after)
    net = adc_saving(found.before, found.after, detection=True)
    middle.bar((0, 1), (100 * saved, 100 * net), 0.6, color=COLOURS["W4A4"])
    for place, share in enumerate((saved, net)):
        middle.annotate(f"{100 * share:.0f}", (place, 100 * share), (0, 2),
                        textcoords="offset points", ha="center")  # fmt: skip
    middle.set_xticks((0, 1), ("ADC alone", "with detection"))
    middle.set(ylabel="ADC energy saved (%)", ylim=(min(100 * net, 0) - 5, 105))
    table = pd.DataFrame({"without": found.before, "with": found.after}) / 1000
    left_edge = np.zeros(2)
    for name, colour in zip(COMPONENTS, COMPONENT_COLOURS, strict=True):
        right.barh((1, 0), table.loc[name], left=left_edge, color=colour,
                   label=name.replace("adc", "ADC"))  # fmt: skip
        left_edge += table.loc[name].to_numpy()
    right.set_yticks((1, 0), table.columns, rotation=90, va="center")
    right.set(xlabel="energy per inference (nJ), without and with sparsity", ylim=(-0.5, 2.6))
    right.use_sticky_edges = False
    right.legend(ncols=2, loc="upper right")
    gain = efficiency_gain(found.before, found.after)
    answer(
        figure,
        f"{setting.precision} gets {100 * accuracies[1]:.1f} % right, and sparsity makes it "
        f"{gain:.2f} × as efficient: {found.trained}, {setting.rows} × {setting.rows}, "
        f"{setting.cell_bits}-bit cells, {setting.adc_bits}-bit ADC, σ = {setting.variation:g}",
    )
    if found.label:
        note(figure, found.label)
    return figure


def explore(subject: Subject, start: Setting | None = None) -> Any:
    """Sliders, and a picture of what they say, drawn anew when one moves.

    Returns
    -------
    ipywidgets.VBox
        With its `controls` by name, and its `picture`.

    Examples
    --------
    >>> box = explore(shipped("embedded", 20))
    >>> sorted(box.controls)[:2]
    ['activation_bits', 'adc_bits']
    """
    import ipywidgets as widgets

    start = start or Setting()
    wide = {"description_width": "8em"}
    late: dict[str, Any] = {"continuous_update": False, "style": wide}

    def slider(name: str, label: str, highest: int) -> Any:
        return widgets.IntSlider(getattr(start, name), 1, highest, description=label, **late)

    controls: dict[str, Any] = {
        "weight_bits": slider("weight_bits", "weight bits W", MAX_BITS),
        "activation_bits": slider("activation_bits", "activation bits A", MAX_BITS),
        "rows": widgets.Dropdown(value=start.rows, options=ROWS, description="array", style=wide),
        "cell_bits": slider("cell_bits", "bits per cell", 4),
        "adc_bits": slider("adc_bits", "ADC bits", 10),
        "variation": widgets.FloatSlider(
            start.variation, min=0.0, max=0.3, step=0.01, description="variation", **late
        ),
        "design": widgets.Dropdown(
            value=start.design, options=list(DESIGN_LAWS), description="ADC law", style=wide
        ),
        "partial": widgets.Dropdown(
            value=start.partial, options=list(PARTIAL_LAWS), description="early stop", style=wide
        ),
    }

    # A picture, not an Output widget: those can hang where a notebook runs without a browser.
    picture = widgets.Image(format="png", layout=widgets.Layout(width="100%"))

    def redraw(_: Any = None) -> None:
        setting = Setting(**{name: control.value for name, control in controls.items()})
        figure = draw(setting, evaluate(setting, subject))
        png = io.BytesIO()
        figure.savefig(png, dpi=150)
        plt.close(figure)
        picture.value = png.getvalue()

    assert list(controls) == list(asdict(start))
    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    panel = widgets.GridBox(
        list(controls.values()), layout=widgets.Layout(grid_template_columns="repeat(2, 24em)")
    )
    box = widgets.VBox([panel, picture])
    box.controls, box.picture = controls, picture
    return box


def show(box: Any) -> None:
    """Display the sliders where a kernel answers them, and a sentence where none does.

    Examples
    --------
    >>> show(explore(shipped("embedded", 20)))  # doctest: +SKIP
    """
    bundle = box._repr_mimebundle_()
    bundle["text/plain"] = "(The sliders appear when this notebook runs: in JupyterLab, or Binder.)"
    display(bundle, raw=True)
