"""Transfer functions of ADCs and DACs, and how their nonlinearity is measured.

An ADC is its code transition levels: ``T[k]`` is the input, in LSB, at which
code k - 1 becomes code k; ideally ``k - 1/2``. A DAC is its output for each
code, in LSB; ideally the code. Offset, gain, INL and DNL are those of IEEE
Std 1241-2010 (ADC) and IEEE Std 1658-2011 (DAC), with end-point correction:
INL and DNL are measured after offset and gain are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nvlib.checks import (
    require,
    require_choice,
    require_flag,
    require_instance,
    require_integer,
    require_number,
    require_numbers,
    require_one_or_each,
    require_tuple,
    settle,
)

SHAPES = ("bow", "s-shape", "random-walk", "capacitor")
MAX_ADC_BITS = 16
LARGEST_LSB = 2.0 ** (MAX_ADC_BITS + 1)
#: How far a measured curve may stray from the ideal line: a share of full scale, and 1 LSB more.
#: What is beyond is a slip of the pen, or not in LSB.
MOST_STRAY = 0.25


@dataclass(frozen=True)
class Nonlinearity:
    """Static error of a converter.

    Parameters
    ----------
    inl_lsb, dnl_lsb : float
        Largest magnitude of INL and DNL that the transfer function shall have,
        in LSB. Zero leaves that one to what the other brings along.
    shape : {"bow", "s-shape", "random-walk", "capacitor"}
        Course of the INL: one arc, two arcs, a random walk, or the steps of a
        binary capacitor array with mismatch.
    offset_lsb : float
        Shift of the whole curve, in LSB.
    gain_error : float
        Relative error of the slope.
    monotone : bool
        Refuse a DNL below -1 LSB.
    """

    inl_lsb: float = 0.0
    dnl_lsb: float = 0.0
    shape: str = "bow"
    offset_lsb: float = 0.0
    gain_error: float = 0.0
    monotone: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            inl_lsb=require_number("inl_lsb", self.inl_lsb, highest=LARGEST_LSB),
            dnl_lsb=require_number("dnl_lsb", self.dnl_lsb, highest=LARGEST_LSB),
            shape=require_choice("shape", self.shape, SHAPES),
            offset_lsb=require_number("offset_lsb", self.offset_lsb, -LARGEST_LSB, LARGEST_LSB),
            gain_error=require_number("gain_error", self.gain_error, lowest=-0.9, highest=1),
            monotone=require_flag("monotone", self.monotone),
        )
        require(
            not self.monotone or self.dnl_lsb <= 1, "dnl_lsb", "at most 1 where monotone",
            self.dnl_lsb, "lower it, or pass monotone=False",
        )  # fmt: skip

    @property
    def linear(self) -> bool:
        """Whether the transfer function is the ideal one."""
        return self == replace(self, inl_lsb=0.0, dnl_lsb=0.0, offset_lsb=0.0, gain_error=0.0)

    def require_fits(self, bits: int) -> None:
        """Raise ValueError if an error is beyond twice the range of a converter of `bits`."""
        for name in ("inl_lsb", "dnl_lsb", "offset_lsb"):
            require_number(name, getattr(self, name), -(2.0 ** (bits + 1)), 2.0 ** (bits + 1))


def _inl_course(shape: str, points: int, generator: np.random.Generator) -> np.ndarray:
    """INL of one shape, end points at zero, largest magnitude 1."""
    t = np.linspace(0, 1, points)
    if shape == "bow":
        course = 4 * t * (1 - t)
    elif shape == "s-shape":
        course = np.sin(2 * np.pi * t)
    elif shape == "random-walk":
        course = np.cumsum(generator.standard_normal(points))
    else:
        bits = int(np.ceil(np.log2(points + 1)))
        # A capacitor of 2^b units has a mismatch of sqrt(2^b) unit errors (Pelgrom).
        errors = generator.standard_normal(bits) * np.sqrt(2.0 ** np.arange(bits))
        course = (np.arange(1, points + 1)[:, None] >> np.arange(bits) & 1) @ errors
    course = course - course[0] - (course[-1] - course[0]) * t
    largest = np.abs(course).max()
    return course / largest if largest > 0 else course


def _error_curve(
    nonlinearity: Nonlinearity, points: int, generator: np.random.Generator
) -> np.ndarray:
    """Deviation from the ideal line, in LSB, with the INL and DNL asked for.

    The course of the INL is scaled to it. Where a DNL is asked too, single points are moved
    alternately up and down by random amounts, and both parts are scaled until both
    measurements agree with what was asked.
    """
    inl, dnl = nonlinearity.inl_lsb, nonlinearity.dnl_lsb
    course = _inl_course(nonlinearity.shape, points, generator)
    if dnl == 0 or points < 3:
        return inl * course
    # Isolated bumps: each widens one step and narrows the next by the same amount.
    bumps = np.zeros(points)
    heights = generator.uniform(0.2, 1.0, len(bumps[1:-1:2]))
    bumps[1:-1:2] = heights * generator.choice((-1.0, 1.0), len(heights))
    bumps /= np.abs(np.diff(bumps)).max()
    if inl == 0:
        return dnl * bumps

    def largest(curve: np.ndarray) -> tuple[float, float]:
        return np.abs(curve).max(), np.abs(np.diff(curve)).max()

    scale_inl, scale_dnl = inl, dnl
    for _ in range(200):
        curve = scale_inl * course + scale_dnl * bumps
        got_inl, got_dnl = largest(curve)
        scale_inl = max(scale_inl + 0.5 * (inl - got_inl), 0.0)
        scale_dnl = max(scale_dnl + 0.5 * (dnl - got_dnl), 0.0)
    got_inl, got_dnl = largest(curve)
    reached = abs(got_dnl - dnl) < 0.005 and abs(got_inl - inl) < 0.005
    require(
        reached, "inl_lsb and dnl_lsb", "a pair that one curve can have", (inl, dnl),
        f"the nearest {nonlinearity.shape} curve has ({got_inl:.3f}, {got_dnl:.3f}); "
        "ask for those, or for one of the two alone",
    )  # fmt: skip
    return curve


def adc_transitions(
    bits: int, nonlinearity: Nonlinearity, generator: np.random.Generator
) -> np.ndarray:
    """Code transition levels T[1] .. T[2^bits - 1] of one ADC, in LSB, ascending.

    Examples
    --------
    >>> adc_transitions(2, Nonlinearity(), np.random.default_rng(0))
    array([0.5, 1.5, 2.5])
    """
    bits = require_integer("bits", bits, 1, MAX_ADC_BITS)
    nonlinearity.require_fits(bits)
    ideal = np.arange(1, 2**bits) - 0.5
    curve = ideal + _error_curve(nonlinearity, len(ideal), generator)
    # A comparator ladder cannot cross itself: a non-monotone step is a missing code.
    curve = np.maximum.accumulate(curve)
    return curve / (1 + nonlinearity.gain_error) + nonlinearity.offset_lsb


def dac_levels(bits: int, nonlinearity: Nonlinearity, generator: np.random.Generator) -> np.ndarray:
    """Outputs of one DAC for codes 0 .. 2^bits - 1, in LSB.

    Examples
    --------
    >>> dac_levels(2, Nonlinearity(offset_lsb=0.5), np.random.default_rng(0))
    array([0.5, 1.5, 2.5, 3.5])
    """
    bits = require_integer("bits", bits, 1, MAX_ADC_BITS)
    nonlinearity.require_fits(bits)
    ideal = np.arange(2.0**bits)
    curve = ideal + _error_curve(nonlinearity, len(ideal), generator)
    return curve * (1 + nonlinearity.gain_error) + nonlinearity.offset_lsb


@dataclass(frozen=True, eq=False)
class Measurement:
    """Static parameters of a measured curve; see the module's standards.

    Attributes
    ----------
    offset_lsb, gain_error : float
        Of the first point; of the slope between the end points.
    inl, dnl : ndarray
        In LSB, at each point and of each step.
    """

    offset_lsb: float
    gain_error: float
    inl: np.ndarray
    dnl: np.ndarray

    @property
    def inl_lsb(self) -> float:
        """Largest magnitude of the INL."""
        return float(np.abs(self.inl).max())

    @property
    def dnl_lsb(self) -> float:
        """Largest magnitude of the DNL."""
        return float(np.abs(self.dnl).max())


def _measure(values: object, first: float) -> Measurement:
    curve = np.array(require_numbers("curve", values, -np.inf), float)
    require(
        len(curve) > 1 and curve[-1] > curve[0], "curve",
        "two values or more, the last above the first", values, "give those of every code in order",
    )  # fmt: skip
    ideal = first + np.arange(len(curve))
    width = (curve[-1] - curve[0]) / (ideal[-1] - ideal[0])
    line = curve[0] + width * (ideal - ideal[0])
    return Measurement(
        offset_lsb=float(curve[0] - ideal[0]),
        gain_error=float(width - 1),
        inl=(curve - line) / width,
        dnl=np.diff(curve) / width - 1,
    )


def measure_adc(transitions: np.ndarray) -> Measurement:
    """INL and DNL of an ADC from its transition levels (IEEE 1241-2010, 8.2 and 9.2).

    Examples
    --------
    >>> asked = Nonlinearity(inl_lsb=0.5, shape="s-shape")
    >>> curve = adc_transitions(8, asked, np.random.default_rng(0))
    >>> round(measure_adc(curve).inl_lsb, 2)
    0.5
    """
    return _measure(transitions, first=0.5)


def measure_dac(levels: np.ndarray) -> Measurement:
    """INL and DNL of a DAC from its output levels (IEEE 1658-2011).

    Examples
    --------
    >>> round(measure_dac(np.array([0.0, 1.1, 2.0, 3.0])).inl_lsb, 3)
    0.1
    """
    return _measure(levels, first=0.0)


def _require_curve(
    name: str, values: object, count: int, first: float, nonlinearity: Nonlinearity
) -> tuple[float, ...]:
    """Values of a measured curve, one for each code, none far from the ideal line."""
    curve = require_tuple(name, values, "list that of every code, in LSB")
    mend = "list that of every code, and the resolution that belongs to them"
    require(len(curve) == count, name, f"{count} values in LSB", len(curve), mend)
    mend = "give one of the two"
    require(nonlinearity.linear, "nonlinearity", f"none beside {name}", nonlinearity, mend)
    stray = MOST_STRAY * count + 1
    return tuple(
        require_number(f"{name}[{k}]", value, first + k - stray, first + k + stray)
        for k, value in enumerate(curve)
    )


@dataclass(frozen=True)
class Adc:
    """Converters of a chip, one to each array.

    Parameters
    ----------
    bits : int, optional
        Resolution B; None takes the smallest that loses nothing.
    full_scale : float or tuple of float, optional
        Column sum, in level x digit units, of the highest code; one for all layers or one
        for each. None is the largest sum the array can give.
    nonlinearity : Nonlinearity
        Drawn anew for each array.
    noise_lsb : float
        Thermal noise at the input, standard deviation in LSB.
    transitions : tuple of float, optional
        Measured transition levels, in LSB, for every array instead of drawn ones.
    """

    bits: int | None = None
    full_scale: float | tuple[float, ...] | None = None
    nonlinearity: Nonlinearity = Nonlinearity()
    noise_lsb: float = 0.0
    transitions: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.bits is not None:
            settle(self, bits=require_integer("ADC bits", self.bits, 1, MAX_ADC_BITS))
        if self.full_scale is not None:
            settle(self, full_scale=require_one_or_each("full_scale", self.full_scale, 1e-9, 1e12))
        mend = "write Nonlinearity(inl_lsb=0.5)"
        require_instance("nonlinearity", self.nonlinearity, Nonlinearity, mend)
        settle(self, noise_lsb=require_number("noise_lsb", self.noise_lsb, highest=LARGEST_LSB))
        if self.transitions is not None:
            mend = "give the resolution B of 2^B - 1 transitions"
            require(self.bits is not None, "ADC bits", "those of the transitions", None, mend)
            count = 2 ** (self.bits or 0) - 1
            curve = _require_curve("transitions", self.transitions, count, 0.5, self.nonlinearity)
            for k in range(1, count):
                require(
                    curve[k] >= curve[k - 1], f"transitions[{k}]", f"{curve[k - 1]:g} or above",
                    curve[k], "a missing code has the level of the one before",
                )  # fmt: skip
            settle(self, transitions=curve)

    @property
    def linear(self) -> bool:
        """Whether every converter has the ideal transfer function."""
        return self.transitions is None and self.nonlinearity.linear

    def resolution(self, largest_sum: int) -> int:
        """Bits of the converter on arrays whose ideal sums reach `largest_sum`."""
        return self.bits or int(largest_sum).bit_length()

    def check_layers(self, count: int) -> None:
        """Raise ValueError unless the full scale is one for all layers or one for each."""
        if isinstance(self.full_scale, tuple):
            require(
                len(self.full_scale) == count, "full_scale",
                f"one value, or one for each of {count} layers", self.full_scale,
                "calibrate it for this network",
            )  # fmt: skip

    def lsb(self, largest_sum: int, layer: int) -> float:
        """Input of one LSB, in level x digit units; one unit where the codes reach beyond the sums.

        Raises
        ------
        ValueError
            If the full scale and the resolution do not belong together: an LSB below one unit
            resolves nothing more, and a full scale above the largest sum is never reached.

        Examples
        --------
        >>> Adc(8).lsb(128, 0), Adc(4, full_scale=30.0).lsb(128, 0)
        (1.0, 2.0)
        """
        scale = self.full_scale
        if isinstance(scale, tuple):
            mend = "calibrate it for this network"
            require(layer < len(scale), "full_scale", f"a value for layer {layer} too", scale, mend)
            scale = scale[layer]
        codes = 2 ** self.resolution(largest_sum) - 1
        if scale is None:
            return max(largest_sum / codes, 1.0)
        require(
            codes <= scale <= max(largest_sum, codes), "full_scale",
            f"{codes} to {max(largest_sum, codes)} units for {codes + 1} codes", scale,
            "lower the resolution, or choose a full scale between them",
        )  # fmt: skip
        return scale / codes

    def curve(self, largest_sum: int, generator: np.random.Generator) -> np.ndarray:
        """Transition levels of one converter, in LSB."""
        if self.transitions is not None:
            return np.asarray(self.transitions, float)
        return adc_transitions(self.resolution(largest_sum), self.nonlinearity, generator)


@dataclass(frozen=True)
class Dac:
    """Drivers of the rows; their resolution is the mapping's `dac_bits`.

    Parameters
    ----------
    nonlinearity : Nonlinearity
        Drawn once for each layer.
    outputs : tuple of float, optional
        Measured outputs of codes 0 to 2^bits - 1, in LSB, for every driver instead of drawn ones.
    """

    nonlinearity: Nonlinearity = Nonlinearity()
    outputs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        mend = "write Nonlinearity(inl_lsb=0.5)"
        require_instance("nonlinearity", self.nonlinearity, Nonlinearity, mend)
        if self.outputs is not None:
            given = len(require_tuple("outputs", self.outputs, "list that of every code, in LSB"))
            count = 2 ** max((given - 1).bit_length(), 1)
            curve = _require_curve("outputs", self.outputs, count, 0.0, self.nonlinearity)
            settle(self, outputs=curve)

    @property
    def linear(self) -> bool:
        """Whether every driver has the ideal transfer function."""
        return self.outputs is None and self.nonlinearity.linear

    def levels(self, bits: int, generator: np.random.Generator) -> np.ndarray:
        """Outputs for each input digit, in LSB; digit 0 drives nothing, whatever the offset."""
        if self.outputs is None:
            levels = dac_levels(bits, self.nonlinearity, generator)
        else:
            require(
                len(self.outputs) == 2**bits, "outputs", f"{2**bits} for drivers of {bits} bits",
                len(self.outputs), "choose the mapping's dac_bits to match the converter",
            )  # fmt: skip
            levels = np.array(self.outputs, float)
        levels[0] = 0.0
        return levels
