"""Quantized convolutional networks on non-volatile-memory crossbars.

A simulator of the system in Bao et al., Front. Electron. 2022,
doi:10.3389/felec.2022.954661: quantizers, crossbar arrays with imperfect
devices and converters, and a counter of the energy that sparsity spares.
"""

__version__ = "0.1.0"
