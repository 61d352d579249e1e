"""Which notebooks there are, what each yields, at which sizes and in what time."""

from __future__ import annotations

import ast
import contextlib
import io
from dataclasses import dataclass, field
from typing import Any

from artifact.paths import NOTEBOOKS

PROFILES = ("quick", "standard", "full")


@dataclass(frozen=True)
class Notebook:
    """One notebook and its size in each profile.

    Attributes
    ----------
    name : str
    yields : str
        What it leaves behind.
    minutes : tuple of float
        Expected on 2 cores, for each of `PROFILES`.
    sizes : dict
        Parameter -> its value for each of `PROFILES`.
    dataset : str
        Of another task than digits; its tables are a record of their own.
    """

    name: str
    yields: str
    minutes: tuple[float, float, float]
    sizes: dict[str, tuple[Any, Any, Any]] = field(default_factory=dict)
    dataset: str = ""

    def parameters(self, profile: str) -> dict[str, Any]:
        """Values of the profile."""
        place = PROFILES.index(profile)
        return {name: values[place] for name, values in self.sizes.items()}


CATALOGUE = (
    Notebook("00_overview", "one image through one array", (0.2, 0.2, 0.2)),
    Notebook(
        "01_precision_sweep", "precision_sweep, compromise, certainty, converters; claims C1, C2",
        (1.5, 0.9, 6.0),
        {"images": (100, 500, 10_000), "chip_images": (50, 100, 1000),
         "compromise_images": (1000, 10_000, 10_000), "read_images": (60, 300, 1500),
         "bits_images": (40, 100, 500), "cost_images": (2, 5, 10), "seeds": (1, 1, 5)},
    ),
    Notebook(
        "02_variation_tolerance", "variation_tolerance, device_trend, device_advantage; claim C3a",
        (0.7, 2.2, 3.7), {"minutes": (0.1, 6.0, 10.0)},
    ),
    Notebook(
        "03_converter_nonlinearity",
        "converter_nonlinearity, converter_trend, converter_advantage; claims C3b, C4",
        (0.7, 1.6, 2.9),
        {"minutes": (0.1, 6.0, 10.0), "together_images": (40, 200, 500)},
    ),
    Notebook(
        "04_sparsity", "zeros, resolved_bits, planes, guard_rows", (0.2, 0.3, 1.0),
        {"images": (100, 1000, 10_000), "guard_images": (20, 200, 1000)},
    ),
    Notebook(
        "05_adc_reduction",
        "adc_reduction, parts, draws, schemes, efficiency, region, one hardware; claims C5, C6",
        (1.0, 1.4, 15.0),
        {"images": (50, 1000, 10_000), "part_images": (20, 500, 10_000),
         "scheme_images": (20, 100, 1000), "region_images": (4, 40, 2000),
         "search_images": (20, 60, 200), "whole_images": (100, 500, 10_000),
         "bits_images": (40, 100, 500), "chips": (2, 2, 3), "seeds": (1, 1, 2)},
    ),
    Notebook(
        "06_your_network", "own_network, own_layers, own_device: your network, your device",
        (0.4, 0.5, 1.5),
        {"images": (500, 2000, 10_000), "chip_images": (50, 200, 300), "chips": (3, 5, 6)},
    ),
    Notebook(
        "07_explorer", "what another chip would do, with sliders", (0.2, 0.2, 0.2),
        {"images": (200, 1000, 1000)},
    ),
    Notebook(
        "08_beyond", "beyond: lossless savings that the paper does not have", (0.2, 0.3, 1.5),
        {"images": (50, 500, 10_000)},
    ),
    Notebook(
        "09_reality", "reality, conclusions: which of them survive a real device",
        (0.6, 0.9, 4.4),
        {"images": (40, 100, 150), "chips": (2, 3, 8), "train_images": (256, 2000, 6400),
         "cost_images": (4, 20, 60)},
    ),
    Notebook(
        "10_harder_task", "harder_*: whether the claims carry over to ResNet-20 and CIFAR-10",
        (3.0, 3.1, 15.0),
        {"images": (200, 500, 10_000), "read_images": (20, 30, 300), "bits_images": (20, 30, 150),
         "cost_images": (1, 1, 10), "trials": (2, 2, 8), "trial_images": (20, 20, 60),
         "part_images": (10, 10, 100), "chips": (2, 2, 6), "chip_images": (20, 40, 150)},
        dataset="cifar10",
    ),
)  # fmt: skip


def defaults(notebook: Notebook) -> dict[str, Any]:
    """The notebook's own parameters and their values."""
    path = NOTEBOOKS / f"{notebook.name}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a notebook, found none; restore it from git")
    import papermill

    with contextlib.redirect_stdout(io.StringIO()):
        known = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(entry["default"]) for name, entry in known.items()}


def check_parameters(notebook: Notebook, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the notebook does not have, or of another type.

    Raises
    ------
    ValueError
        Papermill itself would only warn.
    """
    known = defaults(notebook)
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(
                f"{notebook.name}: expected parameters among {sorted(known)}, received {name}; "
                "correct the catalogue"
            )
        if type(known[name]) is not type(value):
            raise ValueError(
                f"{notebook.name}: expected {name} of type {type(known[name]).__name__}, received "
                f"{value!r}; correct the catalogue"
            )


def fitting(notebook: Notebook, profile: str, digits: Any) -> dict[str, Any]:
    """The profile's parameters, with no more images than there are."""
    parameters = notebook.parameters(profile)
    for name in parameters:
        if "images" in name:
            of_training = name in ("train_images", "bits_images")
            there = digits.train_images if of_training else digits.test_images
            parameters[name] = min(parameters[name], len(there))
    return parameters
