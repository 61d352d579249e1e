"""Quantized convolutional networks on non-volatile-memory crossbars.

A simulator of the system in Bao et al., Front. Electron. 2022,
doi:10.3389/felec.2022.954661: quantizers, crossbar arrays with imperfect
devices and converters, and a counter of the energy that sparsity spares.

Start with `nvlib.chip.Chip`; `nvlib.layer_report` says what a chip costs, `nvlib.measured` reads
your own devices, `nvlib.finetune` trains for them.
"""

#: Modules to build on. The others are the kernel behind them, and what makes this artifact.
API = (
    "arrays", "calibration", "checkpoints", "checks", "chip", "cluster", "converters", "data",
    "devices", "energy", "explorer", "files", "finetune", "graph", "identity", "layer_report",
    "mapping", "measured", "network", "noise", "quantizers", "reference", "residual", "sparsity",
    "statistics", "sweep", "tracing", "training",
)  # fmt: skip

__version__ = "0.1.0"
