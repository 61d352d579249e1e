"""Tables to figures. Nothing is computed here but positions on paper; one module a subject."""

from artifact.figures.accuracy import certainty, compromise, converters, one_image, precision_sweep
from artifact.figures.energy import (
    adc_reduction,
    beyond,
    draws,
    efficiency,
    energy_breakdown,
    parts,
    published_savings,
    region,
    tornado,
)
from artifact.figures.harder import aware, harder
from artifact.figures.own import layer_costs, measured_device, pipeline
from artifact.figures.reality import real_devices
from artifact.figures.schemes import schemes
from artifact.figures.sparsity import guard_rows, planes, resolved_bits, zeros
from artifact.figures.style import COLOURS, MAIN, note, save, supplement
from artifact.figures.tolerance import advantage, each_bit, requirements, trend

__all__ = [
    "COLOURS", "MAIN", "adc_reduction", "advantage", "aware", "beyond", "certainty", "compromise",
    "converters", "draws", "each_bit", "efficiency", "energy_breakdown", "guard_rows", "harder",
    "layer_costs", "measured_device", "note", "one_image", "parts", "pipeline", "planes",
    "precision_sweep", "published_savings", "real_devices", "region", "requirements",
    "resolved_bits", "save", "schemes", "supplement", "tornado", "trend", "zeros",
]  # fmt: skip
