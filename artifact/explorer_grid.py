"""A grid of settings, evaluated once, for the explorer in the report that needs no kernel.

``python -m artifact.explorer_grid`` writes it to ``artifact/site/explorer.json`` (some minutes).
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from tqdm import tqdm

from artifact.explorer import Setting, Subject, evaluate, shipped
from artifact.paths import ROOT
from artifact.studies.common import PRECISIONS
from nvlib.energy import COMPONENTS
from nvlib.quantizers import Precision
from nvlib.storage import write_text

GRID = ROOT / "artifact" / "site" / "explorer.json"
IMAGES = 1000
AXES: dict[str, tuple[Any, ...]] = {
    "precision": PRECISIONS,
    "cell_bits": (1, 2),
    "adc_bits": (3, 4, 5, 6, 8),
    "variation": (0.0, 0.05, 0.1, 0.15, 0.2),
    "design": ("walden", "neurosim", "isaac-saberi", "survey"),
    "partial": ("sar-cycles", "linear", "half-fixed", "fixed-cdac", "cdac", "whole"),
}


def hardware_point(subject: Subject, precision: str, cell_bits: int, adc_bits: int) -> dict:
    """One chip: right answers by variation, energies in pJ by law of the converter.

    Returns
    -------
    dict
        ``correct`` by variation; ``adc`` before and after by design law and partial law; ``rest``
        before and after by the other components.
    """
    of = Precision.parse(precision)

    def found(variation: float = 0.0, design: str = "walden", partial: str = "linear") -> Any:
        setting = Setting(
            of.weight_bits, of.activation_bits, cell_bits=cell_bits, adc_bits=adc_bits,
            variation=variation, design=design, partial=partial,
        )  # fmt: skip
        return evaluate(setting, subject)

    one = found()
    return {
        "precision": precision, "cell_bits": cell_bits, "adc_bits": adc_bits,
        "ideal": one.ideal_correct,
        "correct": [found(variation).correct for variation in AXES["variation"]],
        "adc": [
            [[round(side["adc"], 1) for side in (each.before, each.after)]
             for each in (found(0.0, design, partial) for partial in AXES["partial"])]
            for design in AXES["design"]
        ],
        "rest": [[round(side[name], 1) for name in COMPONENTS[1:]]
                 for side in (one.before, one.after)],
    }  # fmt: skip


def main() -> None:
    """Evaluate the grid on MNIST."""
    subject = shipped("mnist", IMAGES)
    chips = list(itertools.product(*(AXES[k] for k in ("precision", "cell_bits", "adc_bits"))))
    points = [hardware_point(subject, *chip) for chip in tqdm(chips)]
    grid = {"images": IMAGES, "components": COMPONENTS, "axes": AXES, "chips": points}
    write_text(GRID, json.dumps(grid, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
