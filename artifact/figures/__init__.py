"""Tables to figures. Nothing is computed here but positions on paper; one module a subject."""

from artifact.figures.accuracy import compromise, one_image, precision_sweep
from artifact.figures.energy import (
    adc_reduction,
    beyond,
    efficiency,
    energy_breakdown,
    guard_rows,
    planes,
    region,
    resolved_bits,
    tornado,
    zeros,
)
from artifact.figures.own import layer_costs, measured_device, pipeline
from artifact.figures.style import COLOURS, MAIN, note, save, supplement
from artifact.figures.tolerance import requirements, trend

__all__ = [
    "COLOURS", "MAIN", "adc_reduction", "beyond", "compromise", "efficiency",
    "energy_breakdown", "guard_rows", "layer_costs", "measured_device", "note", "one_image",
    "pipeline", "planes", "precision_sweep", "region", "requirements", "resolved_bits",
    "save", "supplement", "tornado", "trend", "zeros",
]  # fmt: skip
