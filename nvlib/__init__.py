"""Quantized convolutional networks on non-volatile-memory crossbars.

A simulator of the system in Bao et al., Front. Electron. 2022,
doi:10.3389/felec.2022.954661: quantizers, crossbar arrays with imperfect
devices and converters, and a counter of the energy that sparsity spares.

Start with `nvlib.chip.Chip`; `nvlib.layer_report` says what a chip costs, `nvlib.measured` reads
your own devices, `nvlib.finetune` trains for them. What makes the paper's figures is `artifact`.
"""

#: Modules to build on. The others are the kernel behind them.
API = (
    "arrays", "calibration", "checks", "chip", "converters", "devices", "energy", "files",
    "finetune", "graph", "layer_report", "mapping", "measured", "network", "noise", "quantizers",
    "reference", "sparsity", "tracing", "training",
)  # fmt: skip

__version__ = "0.1.0"
