"""Quantized convolutional networks on non-volatile-memory crossbars.

A simulator of the system in Bao et al., Front. Electron. 2022,
doi:10.3389/felec.2022.954661: quantizers, crossbar arrays with imperfect
devices and converters, and a counter of the energy that sparsity spares.

A network becomes a `Chip`; `report` says what it costs, `fine_tune` trains it for its devices,
`read_device` reads your own. What makes the paper's figures is the package `artifact`.
"""

from nvlib.chip import Chip, calibrate
from nvlib.converters import Adc, Dac, Nonlinearity
from nvlib.cost import AreaTable, Converters, cost, report, write_cost
from nvlib.devices import (
    DeviceModel,
    EmpiricalVariation,
    LevelMeans,
    LognormalVariation,
    ProportionalReadNoise,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    StuckCells,
    WriteVerify,
)
from nvlib.energy import AdcLaw, EnergyTable, adc_saving, efficiency_gain, inference_energy
from nvlib.hardware import Hardware, SenseColumn
from nvlib.mapping import ArrayMapping
from nvlib.measured import read_adc, read_adc_energies, read_dac, read_device
from nvlib.network import QuantizedNetwork, example_digits, example_network
from nvlib.presets import phase_change, preset
from nvlib.quantization import FakeQuantized, quantize
from nvlib.quantizers import Precision
from nvlib.sparsity import ALL_POLICIES, ActiveRowBound, ColumnBound, SignSkip, ZeroSkip
from nvlib.training import Recipe, fine_tune, train
from nvlib.wires import Wires

__version__ = "0.2.0"

__all__ = [
    "ALL_POLICIES", "ActiveRowBound", "Adc", "AdcLaw", "AreaTable", "ArrayMapping", "Chip",
    "ColumnBound", "Converters", "Dac", "DeviceModel", "EmpiricalVariation", "EnergyTable",
    "FakeQuantized", "Hardware", "LevelMeans", "LognormalVariation", "Nonlinearity",
    "Precision", "ProportionalReadNoise", "ProportionalVariation", "QuantizedNetwork",
    "RangeVariation", "ReadNoise", "Recipe", "RetentionDrift", "SenseColumn", "SignSkip",
    "StuckCells", "Wires", "WriteVerify", "ZeroSkip", "adc_saving", "calibrate",
    "cost", "efficiency_gain", "example_digits", "example_network", "fine_tune",
    "inference_energy", "phase_change", "preset", "quantize", "read_adc", "read_adc_energies",
    "read_dac", "read_device", "report", "train", "write_cost",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
