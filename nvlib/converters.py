"""Transfer functions of ADCs and DACs, and how their nonlinearity is measured.

An ADC is its code transition levels: ``T[k]`` is the input, in LSB, at which code k - 1 becomes
code k; ideally ``k - 1/2``. A DAC is its output for each code, in LSB; ideally the code. Offset,
gain, INL and DNL are those of IEEE Std 1241-2010 (ADC) and IEEE Std 1658-2011 (DAC), with
end-point correction: INL and DNL are measured after offset and gain are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from nvlib import checks
from nvlib.checks import require, require_integer, require_number, settle, settle_fields

SHAPES = ("bow", "s-shape", "random-walk", "capacitor")
MAX_ADC_BITS = 16
FINEST_LSB = 2.0**-6  # in level x digit units
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
        Largest magnitude of INL and DNL of the transfer function. Zero leaves that one to what
        the other brings along.
    shape : {"bow", "s-shape", "random-walk", "capacitor"}
        Course of the INL: one arc, two arcs, a random walk, or the steps of a binary capacitor
        array with mismatch.
    offset_lsb, gain_error : float
        Shift of the whole curve; relative error of its slope.
    monotone : bool
        Refuse a DNL below -1 LSB, also where it is the INL that brings it along.
    """

    inl_lsb: float = 0.0
    dnl_lsb: float = 0.0
    shape: str = "bow"
    offset_lsb: float = 0.0
    gain_error: float = 0.0
    monotone: bool = True

    def __post_init__(self) -> None:
        settle_fields(self, "inl_lsb dnl_lsb", require_number, 0, LARGEST_LSB)
        settle_fields(self, "offset_lsb", require_number, -LARGEST_LSB, LARGEST_LSB)
        settle_fields(self, "gain_error", require_number, -0.9, 1)
        settle_fields(self, "shape", checks.require_choice, SHAPES)
        settle_fields(self, "monotone", checks.require_flag)
        require(not self.monotone or self.dnl_lsb <= 1, "dnl_lsb", "at most 1 where monotone",
                self.dnl_lsb, "lower it, or pass monotone=False")  # fmt: skip

    @property
    def linear(self) -> bool:
        """Whether the transfer function is the ideal one."""
        return self == replace(self, inl_lsb=0.0, dnl_lsb=0.0, offset_lsb=0.0, gain_error=0.0)


def _inl_course(shape: str, points: int, generator: Generator) -> np.ndarray:
    """INL of one shape, end points at zero, largest magnitude 1."""
    t = np.linspace(0, 1, points)
    if shape == "bow":
        course = 4 * t * (1 - t)
    elif shape == "s-shape":
        course = np.sin(2 * np.pi * t)
    elif shape == "random-walk":
        course = np.cumsum(generator.standard_normal(points))
    else:
        bits = int(np.ceil(np.log2(points)))  # levels of a DAC begin at code 0, of an ADC at 1
        # A capacitor of 2^b units has a mismatch of sqrt(2^b) unit errors (Pelgrom).
        errors = generator.standard_normal(bits) * np.sqrt(2.0 ** np.arange(bits))
        codes = np.arange(2**bits - points, 2**bits)[:, None]
        course = (codes >> np.arange(bits) & 1) @ errors
    course = course - course[0] - (course[-1] - course[0]) * t
    largest = np.abs(course).max()
    return course / largest if largest > 0 else course


def _curve(bits: int, first: float, nonlinearity: Nonlinearity, generator: Generator) -> np.ndarray:
    """Levels in LSB from `first` to the last code: the ideal line and its error."""
    bits = require_integer("bits", bits, 1, MAX_ADC_BITS)
    ideal = np.arange(first, 2**bits - first)
    levels = ideal + _error(bits, len(ideal), nonlinearity, generator)
    rises = not nonlinearity.monotone or bool((np.diff(levels) > -1e-9).all())
    require(rises, "inl_lsb", f"a {nonlinearity.shape} whose levels rise", nonlinearity.inl_lsb,
            "lower it, choose another shape, or pass monotone=False")  # fmt: skip
    return levels


def _error(bits: int, points: int, nonlinearity: Nonlinearity, generator: Generator) -> np.ndarray:
    """Error of each level in LSB.

    It is the course of the INL, scaled. Where a DNL is asked too, single points are moved up
    or down by random amounts, and both parts are scaled until both measurements are as asked.
    """
    most = 2.0 ** (bits + 1)  # twice the range
    for name in ("inl_lsb", "dnl_lsb", "offset_lsb"):
        require_number(name, getattr(nonlinearity, name), -most, most)
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
    scale_inl, scale_dnl = inl, dnl
    for _ in range(200):
        error = scale_inl * course + scale_dnl * bumps
        got_inl, got_dnl = np.abs(error).max(), np.abs(np.diff(error)).max()
        scale_inl = max(scale_inl + 0.5 * (inl - got_inl), 0.0)
        scale_dnl = max(scale_dnl + 0.5 * (dnl - got_dnl), 0.0)
    reached = abs(got_dnl - dnl) < 0.005 and abs(got_inl - inl) < 0.005
    require(reached, "inl_lsb and dnl_lsb", "a pair that one curve can have", (inl, dnl),
            f"the nearest {nonlinearity.shape} curve has ({got_inl:.3f}, {got_dnl:.3f}); "
            "ask for those, or for one of the two alone")  # fmt: skip
    return error


def adc_transitions(bits: int, nonlinearity: Nonlinearity, generator: Generator) -> np.ndarray:
    """Code transition levels T[1] .. T[2^bits - 1] of one ADC, in LSB, ascending.

    >>> adc_transitions(2, Nonlinearity(), np.random.default_rng(0))
    array([0.5, 1.5, 2.5])
    """
    # A comparator ladder cannot cross itself: a non-monotone step is a missing code.
    curve = np.maximum.accumulate(_curve(bits, 0.5, nonlinearity, generator))
    return curve / (1 + nonlinearity.gain_error) + nonlinearity.offset_lsb


def dac_levels(bits: int, nonlinearity: Nonlinearity, generator: Generator) -> np.ndarray:
    """Outputs of one DAC for codes 0 .. 2^bits - 1, in LSB.

    >>> dac_levels(2, Nonlinearity(offset_lsb=0.5), np.random.default_rng(0))
    array([0.5, 1.5, 2.5, 3.5])
    """
    curve = _curve(bits, 0.0, nonlinearity, generator)
    return curve * (1 + nonlinearity.gain_error) + nonlinearity.offset_lsb


@dataclass(frozen=True, eq=False)
class Measurement:
    """Static parameters of a measured curve; see the module's standards."""

    offset_lsb: float  # of the first point
    gain_error: float  # of the slope between the end points
    inl: np.ndarray  # in LSB, at each point
    dnl: np.ndarray  # in LSB, of each step
    inl_lsb: float  # largest magnitude of the INL
    dnl_lsb: float  # and of the DNL


def measure_adc(transitions: np.ndarray) -> Measurement:
    """INL and DNL of an ADC from its transition levels (IEEE 1241-2010, 8.2 and 9.2).

    Those of a DAC are its levels plus half an LSB (IEEE 1658-2011).

    >>> asked = Nonlinearity(inl_lsb=0.5, shape="s-shape")
    >>> curve = adc_transitions(8, asked, np.random.default_rng(0))
    >>> round(measure_adc(curve).inl_lsb, 2)
    0.5
    """
    curve = np.array(checks.require_numbers("curve", transitions, -np.inf), float)
    rises = len(curve) > 1 and curve[-1] > curve[0]
    wanted = "two values or more, the last above the first"
    mend = "give those of all codes in order"
    require(rises, "curve", wanted, transitions, mend)
    width = (curve[-1] - curve[0]) / (len(curve) - 1)
    line = curve[0] + width * np.arange(len(curve))
    inl, dnl = (curve - line) / width, np.diff(curve) / width - 1
    largest = [float(np.abs(values).max()) for values in (inl, dnl)]
    return Measurement(float(curve[0] - 0.5), float(width - 1), inl, dnl, *largest)


def _settle_curve(converter: Adc | Dac, name: str, first: float, count: int | None = None) -> None:
    """Check the nonlinearity and the measured curve: of `count` values, or a power of two."""
    nonlinearity, values = converter.nonlinearity, getattr(converter, name)
    mend = "write Nonlinearity(inl_lsb=0.5)"
    checks.require_instance("nonlinearity", nonlinearity, Nonlinearity, mend)
    if values is None:
        return
    curve = checks.require_tuple(name, values, "list that of every code, in LSB")
    count = count or 2 ** max((len(curve) - 1).bit_length(), 1)
    mend = "list that of every code, and the resolution that belongs to them"
    require(len(curve) == count, name, f"{count} values in LSB", len(curve), mend)
    mend = "give one of the two"
    require(nonlinearity.linear, "nonlinearity", f"none beside {name}", nonlinearity, mend)
    stray = MOST_STRAY * count + 1
    checked = tuple(
        require_number(f"{name}[{k}]", value, first + k - stray, first + k + stray)
        for k, value in enumerate(curve)
    )
    settle(converter, **{name: checked})


@dataclass(frozen=True)
class Adc:
    """Converters of a chip, one to each array, with a nonlinearity of its own draw.

    Parameters
    ----------
    bits : int, optional
        Resolution B; None takes the smallest that loses nothing.
    full_scale : float or tuple of float, optional
        Column sum of the highest code, in level x digit units, for all of `Chip.arrays` or for
        each; None is the largest sum the array can give.
    noise_lsb : float
        Standard deviation of the thermal noise at the input.
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
            settle_fields(self, "full_scale", checks.require_one_or_each, 1e-9, 1e12)
        settle_fields(self, "noise_lsb", require_number, 0, LARGEST_LSB)
        if self.transitions is not None:
            mend = "give the resolution B of 2^B - 1 transitions"
            require(self.bits is not None, "ADC bits", "those of the transitions", None, mend)
        _settle_curve(self, "transitions", 0.5, 2 ** (self.bits or 1) - 1)
        for k, (last, level) in enumerate(pairwise(self.transitions or ()), 1):
            mend = "a missing code has the level of the one before"
            require(level >= last, f"transitions[{k}]", f"{last:g} or above", level, mend)

    @property
    def linear(self) -> bool:
        """Whether every converter has the ideal transfer function."""
        return self.transitions is None and self.nonlinearity.linear

    def resolution(self, largest_sum: int) -> int:
        """Bits of the converter on arrays whose ideal sums reach `largest_sum`."""
        return self.bits or int(largest_sum).bit_length()

    def check_arrays(self, count: int) -> None:
        """Raise ValueError unless the full scale is one for all `Chip.arrays` or one for each."""
        if isinstance(self.full_scale, tuple):
            fits, mend = len(self.full_scale) == count, "calibrate it for this network"
            wanted = f"one value, or one for each of {count} arrays"
            require(fits, "full_scale", wanted, self.full_scale, mend)

    def lsb(self, largest_sum: int, number: int) -> float:
        """Input of one LSB, in level x digit units; one unit where the codes reach beyond the sums.

        >>> Adc(8).lsb(128, 0), Adc(4, full_scale=30.0).lsb(128, 0), Adc(8, 63.75).lsb(128, 0)
        (1.0, 2.0, 0.25)
        """
        scale = self.full_scale[number] if isinstance(self.full_scale, tuple) else self.full_scale
        codes = 2 ** self.resolution(largest_sum) - 1
        if scale is None:
            return max(largest_sum / codes, 1.0)
        # An LSB below one unit tells cells apart that vary; a scale above the sums is not reached.
        least, most = codes * FINEST_LSB, max(largest_sum, codes)
        wanted = f"{least:g} to {most} units for {codes + 1} codes"
        require(least <= scale <= most, "full_scale", wanted, scale,
                "lower the resolution, or choose a full scale between them")  # fmt: skip
        return scale / codes

    def curve(self, largest_sum: int, generator: Generator) -> np.ndarray:
        """Transition levels of one converter, in LSB."""
        if self.transitions is not None:
            return np.array(self.transitions, float)
        return adc_transitions(self.resolution(largest_sum), self.nonlinearity, generator)


@dataclass(frozen=True)
class Dac:
    """Drivers of the rows, of the mapping's `dac_bits`; their nonlinearity is one draw a layer.

    Parameters
    ----------
    outputs : tuple of float, optional
        Measured outputs of codes 0 to 2^bits - 1, in LSB, for every driver instead of drawn ones.
    """

    nonlinearity: Nonlinearity = Nonlinearity()
    outputs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _settle_curve(self, "outputs", 0.0)

    @property
    def linear(self) -> bool:
        """Whether every driver has the ideal transfer function."""
        return self.outputs is None and self.nonlinearity.linear

    def levels(self, bits: int, generator: Generator) -> np.ndarray:
        """Outputs for each input digit, in LSB; digit 0 drives nothing, whatever the offset."""
        levels = np.array(self.outputs or dac_levels(bits, self.nonlinearity, generator), float)
        require(len(levels) == 2**bits, "outputs", f"{2**bits} for drivers of {bits} bits",
                len(levels), "choose the mapping's dac_bits to match the converter")  # fmt: skip
        levels[0] = 0.0
        return levels
