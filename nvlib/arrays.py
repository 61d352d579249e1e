"""One layer written onto arrays: everything a read needs, drawn once and frozen.

Currents are integers. A cell conducts ``conductance`` grid steps of
2^-`grid_bits` level; a driven digit is ``drive`` steps of 2^-`drive_bits`
digit; a column current is the exact integer sum of their products. Sums of
integers do not depend on the order of the additions, so neither threads nor
batches nor instruction sets can change a code. The grid is finer than any
device: 2^-14 to 2^-11 of a level on 128 rows of cells of 1 to 3 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nvlib.checks import require
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping, MappedLayer, count_arrays, map_weights
from nvlib.network import QuantizedLayer
from nvlib.programming import program_layer

SUM_BITS = 21  # ideal column sums stay below 2^21, so float32 holds them, and halves of them
FINEST_GRID_BITS = 16
NONIDEAL_DRIVE_BITS = 8
#: A converter's input is tabled this finely (in steps per LSB, at least) where it is nonlinear.
TABLE_STEPS_PER_LSB = 128


@dataclass(frozen=True, eq=False)
class LayerArrays:
    """The arrays of one layer on one chip."""

    layer: QuantizedLayer
    mapping: ArrayMapping
    mapped: MappedLayer  # What was asked of the cells
    #: int16 or int32 (K, B, M): grid steps, pedestal removed
    conductance: np.ndarray
    reference: np.ndarray | None  # int64 (K,): cells of the offset scheme's reference column
    sense: np.ndarray | None  # int64 (K,): cells of the sense column
    drive: np.ndarray  # int64 (planes, 2^d): steps that each digit drives its row with
    grid_bits: int
    drive_bits: int
    lsb_steps: int  # One LSB, in steps of 2^-(grid_bits + drive_bits)
    #: int64 (B,): levels of a column that a step of its current, and its LSB, are scaled by
    scales: np.ndarray
    code_weights: np.ndarray  # int64 (B,): what a code of each column counts, in LSB
    code_max: int  # Highest code of the converters
    #: int64 (row tiles, column tiles, code_max): transition levels in steps where a converter is
    #: not ideal
    curves: np.ndarray | None
    curve_shift: int  # Curves are multiples of 2^`curve_shift`
    column_tile: np.ndarray  # int64 (B, M): which array across holds a column
    #: Standard deviations, of one cell of weight 1 for each drive step and of a conversion
    cell_noise_steps: float
    adc_noise_steps: float
    #: int32 (K, B x M and beside): weights of the cells' variances, those of `reference` and
    #: `sense` last; None where all are 1
    noise_weights: np.ndarray | None
    #: int64 (rows x digit_max + 1,): highest code that a conversion can give when the sense column
    #: counts so many rows
    limits: np.ndarray | None
    #: float64 (K,): sum over a row's cells, G_off and the reference columns included, in level
    #: steps, for the energy of a read
    on_conductance: np.ndarray
    pedestal: float  # G_off in level steps
    correction: float  # that digital logic multiplies outputs by; 1 without drift compensation

    @property
    def lsb(self) -> float:
        """One LSB in level x digit units: what the codes are multiples of."""
        return self.lsb_steps / 2.0 ** (self.grid_bits + self.drive_bits)

    @property
    def unit(self) -> float:
        """What one LSB counts in a product: itself, but for the correction."""
        return self.lsb * self.correction

    @property
    def planes(self) -> int:
        """Planes that an activation enters in."""
        return len(self.drive)

    @cached_property
    def serial(self) -> bool:
        """Whether inputs enter bit by bit, each an ideal step of drive."""
        return self.drive.shape[1] == 2 and bool((self.drive[:, 1] == 1).all())

    @property
    def sense_lsb_steps(self) -> int:
        """One LSB of the sense column's converter: one row at full drive of one digit."""
        return self.mapping.level_max << (self.grid_bits + self.drive_bits)

    @property
    def sense_noise_steps(self) -> float:
        """Standard deviation of that converter, which has as many of its own LSB as the others."""
        return self.adc_noise_steps / self.lsb_steps * self.sense_lsb_steps

    @property
    def noisy(self) -> bool:
        """Whether two accesses can differ."""
        return self.cell_noise_steps > 0 or self.adc_noise_steps > 0

    def require_codes(self, codes: np.ndarray, keys: np.ndarray) -> None:
        """Refuse what is no input: other than uint8 codes (N, inputs[, H, W]) and keys (N,)."""
        layer = self.layer
        found = f"{codes.dtype} of shape {codes.shape} and keys of shape {keys.shape}"
        fits = codes.dtype == np.uint8 and codes.shape[1:] == layer.input_shape
        wanted = f"uint8 codes of shape (N, {', '.join(map(str, layer.input_shape))}) and N keys"
        mend = "quantize the layer's input first, and make a key for each row"
        require(fits and keys.shape == codes.shape[:1], layer.spec.name, wanted, found, mend)


def parts_of(layer: QuantizedLayer) -> list[tuple[slice, QuantizedLayer]]:
    """A layer as matrices without groups, each on arrays of its own: input channels and layer.

    Examples
    --------
    >>> spec = LayerSpec("depthwise", 4, 4, kernel=(3, 3), groups=4)
    >>> codes, shape = np.ones(spec.weight_shape, np.int8), (4, 8, 8)
    >>> depthwise = QuantizedLayer(spec, Precision(4, 3), codes, 1.0, 1.0, np.zeros(4), shape)
    >>> [part.matrix.shape for _, part in parts_of(depthwise)]
    [(9, 1), (9, 1), (9, 1), (9, 1)]
    """
    spec, groups = layer.spec, layer.spec.groups
    if groups == 1:
        return [(slice(0, spec.inputs), layer)]
    inputs, outputs = spec.inputs // groups, spec.outputs // groups
    scales = np.broadcast_to(layer.weight_scale, spec.outputs)
    found = []
    for group in range(groups):
        channels = slice(group * inputs, (group + 1) * inputs)
        columns = slice(group * outputs, (group + 1) * outputs)
        name = f"{spec.name}[{group}]"
        part = replace(
            layer, spec=replace(spec, name=name, inputs=inputs, outputs=outputs, groups=1),
            codes=layer.codes[columns], weight_scale=scales[columns], bias=layer.bias[columns],
            input_shape=(inputs, *layer.input_shape[1:]),
        )  # fmt: skip
        found.append((channels, part))
    return found


def write_layer(
    layer: QuantizedLayer, number: int, hardware: Hardware, seeds: np.random.SeedSequence,
    access: int = 0,
) -> LayerArrays:  # fmt: skip
    """Program one layer.

    Parameters
    ----------
    layer : QuantizedLayer
        Without groups; see `parts_of`.
    number : int
        Of these arrays on the chip, which has a full scale for each; groups of a layer have one
        each.
    seeds : SeedSequence
        Of this chip and layer; every purpose spawns a generator of its own from it, so a second
        call with the same object draws others.
    access : int
        Which reading of the cells: all find the same but for slow noise.

    Examples
    --------
    >>> spec, codes = LayerSpec("fc", 3, 2), np.array([[1, -2, 3], [0, 3, -1]], np.int8)
    >>> layer = QuantizedLayer(spec, Precision(3, 2), codes, 1.0, 1.0, np.zeros(2), (3,))
    >>> arrays = write_layer(layer, 0, Hardware(), np.random.SeedSequence(0))
    >>> arrays.conductance.shape, arrays.planes, arrays.lsb  # 2 slices of 2 polarities
    ((3, 4, 2), 2, 1.0)
    """
    precision = layer.precision
    mapping, devices, adc = hardware.mapping, hardware.devices, hardware.adc
    cells, extra, converters, drivers = (np.random.default_rng(seed) for seed in seeds.spawn(4))
    mapped = map_weights(layer.matrix, precision, mapping)
    rows = len(mapped.levels)
    # Codes of a converter finer than one unit are as many times larger.
    fineness = max(1.0, 1 / adc.lsb(mapping.largest_sum, number))
    largest_product = rows * precision.weight_max * precision.activation_max * fineness
    require(  # as much again is left for converters that err
        largest_product < 2**30, f"products of {layer.spec.name}", "below 2^30 LSB",
        round(largest_product), "use fewer bits, a coarser converter, or split the layer",
    )  # fmt: skip
    grid_bits = min(FINEST_GRID_BITS, SUM_BITS - (mapping.rows * mapping.level_max).bit_length())
    require(
        grid_bits >= 6, "rows x (2^cell_bits - 1)", f"below 2^{SUM_BITS - 6}",
        mapping.rows * mapping.level_max, "use fewer rows or cell bits",
    )  # fmt: skip
    pedestal = devices.pedestal(mapping.level_max)

    # One converter serves all slices; its reference follows their full scale by powers of two, so
    # that digital logic shifts.
    multiples = mapped.multiples
    own = np.array([adc.lsb(mapping.largest_sum // m, number) for m in multiples])
    coarser = np.ceil(np.log2(own / own.min())).astype(np.int64)
    scales = multiples << coarser

    grid = count_arrays(rows, layer.spec.outputs, precision, mapping, hardware.sense is not None)
    slow_seed = np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, 4, access))
    slow = np.random.default_rng(slow_seed)
    drive_bits = 0 if hardware.dac.linear else NONIDEAL_DRIVE_BITS
    digits = hardware.dac.levels(mapping.dac_bits, drivers) * 2**drive_bits
    digits = np.maximum(np.rint(digits), 0).astype(np.int64)
    drive = np.tile(digits, (mapping.planes(precision), 1))  # the drivers serve all planes
    asked = float(mapped.levels.sum() + pedestal * mapped.levels.size)
    written, total = program_layer(
        mapped, grid.column_tiles, hardware, scales, grid_bits, int(drive.max()),
        (cells, extra, slow),
    )  # fmt: skip
    correction = asked / total if hardware.compensated and total else 1.0

    step = 2.0 ** (grid_bits + drive_bits)
    lsb_steps = max(round(own.min() * step), 2)
    code_max = 2 ** adc.resolution(mapping.largest_sum) - 1
    weights = mapped.coefficients << coarser
    if adc.noise_lsb > 0 or not adc.linear:  # may give any code, whatever the cells hold
        positive, negative = (int((sign * weights).clip(0).sum()) for sign in (1, -1))
        planes = int((1 << np.arange(len(drive)) * mapping.dac_bits).sum())
        most = grid.row_tiles * code_max * planes * max(positive, negative + mapped.offset)
        require(most < 2**31, f"products of {layer.spec.name}", "below 2^31 LSB", most,
                "use a coarser converter, more rows, or split the layer")  # fmt: skip
    # Physical columns run output by output, so a pair shares an array.
    order = np.arange(mapped.columns).reshape(layer.spec.outputs, -1).T
    curves, shift = None, 0
    if not adc.linear:
        shift = max((lsb_steps // TABLE_STEPS_PER_LSB).bit_length() - 1, 0)
        drawn = np.array([adc.curve(mapping.largest_sum, converters) for _ in range(grid.arrays)])
        curves = np.rint(drawn * lsb_steps / 2.0**shift).astype(np.int64) << shift
        curves = curves.reshape(grid.row_tiles, grid.column_tiles, -1)
    return LayerArrays(
        **written._asdict(), layer=layer, mapping=mapping, mapped=mapped, drive=drive,
        grid_bits=grid_bits, drive_bits=drive_bits, lsb_steps=lsb_steps, scales=scales,
        code_weights=weights, code_max=code_max, curves=curves,
        curve_shift=shift, column_tile=order // mapped.per_array(grid.column_tiles),
        adc_noise_steps=adc.noise_lsb * lsb_steps,
        limits=None if hardware.sense is None else _limits(hardware, lsb_steps / step, code_max),
        pedestal=pedestal, correction=correction,
    )  # fmt: skip


def _limits(hardware: Hardware, lsb: float, code_max: int) -> np.ndarray:
    """Highest code, of the form 2^b - 1, by the count that the sense column gives."""
    assert hardware.sense is not None
    mapping = hardware.mapping
    counts = np.arange(mapping.rows * mapping.digit_max + 1) + hardware.sense.guard_rows
    largest_code = np.floor(counts * mapping.level_max / lsb + 0.5).astype(np.int64)
    bits = np.array([int(code).bit_length() for code in largest_code])
    return np.minimum(2**bits - 1, code_max)
