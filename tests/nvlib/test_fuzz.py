"""No hostile value passes a constructor unseen, and no file does harm."""

from __future__ import annotations

import datetime
import decimal
import fractions
import random
import time
import tracemalloc
import warnings
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import nvlib
from artifact.paths import EXAMPLES
from nvlib import (
    AreaTable,
    ArrayMapping,
    Chip,
    Converters,
    FakeQuantized,
    Hardware,
    Precision,
    QuantizedNetwork,
    Recipe,
    SenseColumn,
    Wires,
    calibrate,
    fine_tune,
    measured,
    phase_change,
    preset,
    quantize,
    report,
    train,
)
from nvlib.converters import Adc, Dac, Nonlinearity, adc_transitions, dac_levels
from nvlib.devices import (
    Cells,
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
from nvlib.energy import AdcLaw, EnergyTable
from tests.fuzzing import FUZZ, fuzz

LEVELS = np.arange(4)


def program(effect):
    """Write cells with an effect."""
    cells = DeviceModel(8.0, (effect,)).program(LEVELS, 3, np.random.default_rng(0))
    assert (cells >= 0).all()


def convert(adc):
    """Draw a converter."""
    assert adc.lsb(384, 0) > 0
    assert np.isfinite(adc.curve(384, np.random.default_rng(0))).all()
    adc.check_arrays(1)


def drive(dac):
    """Draw drivers."""
    assert np.isfinite(dac.levels(2, np.random.default_rng(0))).all()


def bend(nonlinearity):
    """Draw both kinds of converters."""
    for draw in (adc_transitions, dac_levels):
        assert np.isfinite(draw(6, nonlinearity, np.random.default_rng(0))).all()


def fluctuate(noise):
    """What cells of each level fluctuate by."""
    assert (noise.spread(LEVELS + 0.1, Cells(LEVELS, 3, 0.1)) >= 0).all()


def nothing(_):
    """Not used further."""


#: What is made, valid values of its fields, and a use of it.
CONSTRUCTORS = [
    (ProportionalVariation, {"sigma": 0.1}, program),
    (RangeVariation, {"sigma": 0.1}, program),
    (LognormalVariation, {"sigma": 0.1}, program),
    (RangeVariation, {"sigma": (0.1, 0.2, 0.1, 0.0)}, program),
    (LevelMeans, {"means": (0.0, 0.3, 0.6, 1.0)}, program),
    (EmpiricalVariation, {"quantiles": ((-0.1, 0.1), (), (0.0,), (0.0, 0.1, 0.2))}, program),
    (StuckCells, {"on_rate": 0.1, "off_rate": 0.1}, program),
    (RetentionDrift, {"seconds": 100.0, "nu": (0.1,) * 4, "nu_sigma": 0.01,
                      "reference_seconds": 20.0}, program),
    (ReadNoise, {"sigma": 0.1}, fluctuate),
    (ProportionalReadNoise, {"sigma": (0.1, 0.2, 0.1, 0.0)}, fluctuate),
    (WriteVerify, {"sigma": (0.1,) * 4, "tolerance": 0.1, "most_pulses": 20}, program),
    (preset, {"name": "PCM"}, nothing),
    (phase_change, {"cell_bits": 2, "seconds": 100.0}, nothing),
    (DeviceModel, {"on_off_ratio": 8.0, "effects": (RangeVariation(0.1),),
                   "read_noise": ReadNoise()},
     lambda model: model.program(LEVELS, 3, np.random.default_rng(0))),
    (Nonlinearity, {"inl_lsb": 0.5, "dnl_lsb": 0.2, "shape": "bow", "offset_lsb": 0.1,
                    "gain_error": 0.1, "monotone": True}, bend),
    (Adc, {"bits": 2, "full_scale": (30.0,), "noise_lsb": 0.1}, convert),
    (Adc, {"bits": 2, "full_scale": 30.0, "nonlinearity": Nonlinearity(0.2)}, convert),
    (Adc, {"bits": 2, "transitions": (0.4, 1.5, 2.6)}, convert),
    (Dac, {"nonlinearity": Nonlinearity(0.2)}, drive),
    (Dac, {"outputs": (0.0, 1.1, 2.0, 3.0)}, drive),
    (AdcLaw, {"design": "walden", "partial": "linear"},
     lambda law: law.conversions_pj(np.arange(5), 4, EnergyTable.load())),
    (EnergyTable, {field.name: 0.01 for field in fields(EnergyTable)}, nothing),
    (EnergyTable.load, {"override": None}, nothing),
    (measured.read_device, {"path": EXAMPLES / "device.csv"}, nothing),
    (measured.read_adc, {"path": EXAMPLES / "adc.csv"}, nothing),
    (measured.read_dac, {"path": EXAMPLES / "dac.csv"}, nothing),
]  # fmt: skip


MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
PIXELS = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 2
SMALL = quantize(MODEL, PIXELS, "W4A3")
SMALL_CHIP = Chip(SMALL, compiled=False)
TRAIN = {"images": PIXELS, "labels": LABELS, "recipe": Recipe(1, 8), "seed": 1}
CONSTRUCTORS += [
    (ArrayMapping, {"rows": 64, "columns": 32, "cell_bits": 2, "dac_bits": 1, "scheme": "offset"},
     lambda mapping: mapping.tiles(150)),
    (SenseColumn, {"guard_rows": 1}, nothing),
    (Wires, {"ohm_per_segment": 1.0, "driver_ohm": 1.0, "sense_ohm": 1.0, "two_sided": True},
     nothing),
    (Converters, {"columns_per_adc": 8, "sample_rate_hz": 1e9}, nothing),
    (AreaTable.load, {"override": None}, nothing),
    (Hardware, {field.name: getattr(Hardware(), field.name) for field in fields(Hardware)}
     | {"sense": SenseColumn()}, nothing),
    (Precision, {"weight_bits": 4, "activation_bits": 3}, str),
    (Precision.parse, {"name": "W4A3"}, str),
    (Recipe, {"epochs": 1, "batch": 8, "learning_rate": 1e-3, "shift": 1}, nothing),
    (QuantizedNetwork, {field.name: getattr(SMALL, field.name) for field in fields(SMALL)},
     lambda network: network.predict(PIXELS)),
    (SMALL.predict, {"images": PIXELS}, nothing),
    (SMALL_CHIP.predict, {"images": PIXELS, "threads": 1, "access": 0}, nothing),
    (Chip, {"network": SMALL, "hardware": Hardware(), "seed": 1, "compiled": False,
            "device": "cpu"}, nothing),
    (Chip.from_torch, {"model": MODEL, "images": PIXELS, "hardware": Hardware(),
                       "precision": "W4A3", "seed": 1}, nothing),
    (FakeQuantized, {"model": MODEL, "images": PIXELS, "precision": "W4A3", "overrides":
                     {"2": "W8A8"}, "method": "max", "digital": (), "input_max": 1.0}, nothing),
    (quantize, {"model": MODEL, "images": PIXELS, "precision": "W4A3"}, nothing),
    (partial(train, nn.Linear(4, 2), progress=False), TRAIN, nothing),
    (partial(fine_tune, MODEL, precision="W4A3", progress=False), TRAIN, nothing),
    (partial(calibrate, SMALL), {"hardware": Hardware(adc=Adc(4)), "images": PIXELS}, nothing),
    (partial(report, SMALL_CHIP), {"images": PIXELS, "labels": LABELS}, nothing),
]  # fmt: skip
#: On the face of `nvlib`, and without values to choose or with their own tests.
ELSEWHERE = {
    "ALL_POLICIES", "ActiveRowBound", "ColumnBound", "SignSkip", "ZeroSkip", "adc_saving",
    "cost", "efficiency_gain", "example_digits", "example_network", "inference_energy",
    "read_adc_energies", "write_cost",
}  # fmt: skip


def test_everything_on_the_face_is_tried():
    made = set()
    for make, *_ in CONSTRUCTORS:
        function = getattr(make, "func", make)
        kind = getattr(function, "__self__", function)  # of a class method, its class
        made.add(getattr(kind, "__name__", ""))
    assert made | ELSEWHERE >= set(nvlib.__all__)


class Unprintable:
    """Refuses to be shown."""

    def __repr__(self):
        raise RuntimeError("no")


def deep(depth):
    """Lists in lists."""
    return [deep(depth - 1)] if depth else []


HOSTILE = [
    np.nan, np.inf, -np.inf, 0, -1, 1e308, 5e-324, 10**400, -(10**400), 10**5000, 2**63, True,
    np.True_, None, "", "0.1", "x" * 100_000, "\0", b"\xff", 3j, ..., object(), object, len,
    Unprintable(), Path("/dev/null"), decimal.Decimal("1e999"), fractions.Fraction(1, 3),
    datetime.date.today(), pd.NA, pd.Timestamp(0), pd.Index([0.1]), np.float16(0.1),
    np.float32(np.nan), np.longdouble(0.5), np.int64(2), np.uint8(200), np.iinfo(np.int64).max,
    np.complex128(1), np.datetime64("now"), np.str_("bow"), np.array(0.1), np.array([]),
    np.zeros((2, 2)), np.full(10**6, np.nan), np.array(["a", None], object), [], (), {}, set(),
    [[]], [0.1, "x"], [10**400], (np.nan,), {"value": 1}, range(10**12), iter([1]), deep(400),
    [0.1] * 10**5, RangeVariation(0.1), RangeVariation, ReadNoise(), Nonlinearity(),
]  # fmt: skip


def tried(make, values, use):
    """Whether a constructor took the values; it may refuse them in a few words, at once."""
    refusal, began = None, time.process_time()
    try:
        made = make(**values)
        repr(made)
        use(made)
    except ValueError as error:
        refusal = str(error)
    assert time.process_time() - began < 1
    if refusal is not None:  # what was expected, what came; how to mend it
        assert len(refusal) < 700
        assert "expected" in refusal
        assert "; " in refusal
    return refusal is None


@pytest.mark.parametrize(
    ("make", "valid", "use"), CONSTRUCTORS,
    ids=[f"{getattr(make, 'func', make).__qualname__} {', '.join(valid)}"[:60]
         for make, valid, _ in CONSTRUCTORS],
)  # fmt: skip
def test_hostile_values_are_used_or_refused_with_a_mend(make, valid, use):
    make(**valid)  # what is imported and compiled at the first use takes its time
    assert tried(make, valid, use)
    generator = random.Random(str(list(valid)))
    tracemalloc.start()
    refused = 0
    for name, value in valid.items():
        for hostile in HOSTILE:
            refused += not tried(make, valid | {name: hostile}, use)
            if isinstance(value, tuple) and value:
                place = generator.randrange(len(value))
                inside = (*value[:place], hostile, *value[place + 1 :])
                refused += not tried(make, valid | {name: inside}, use)
    for _ in range(FUZZ):  # several at once
        chosen = {name: generator.choice([value, *HOSTILE]) for name, value in valid.items()}
        tried(make, chosen, use)
    assert refused
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_no_energy_table_does_harm(tmp_path):
    path = tmp_path / "table.yaml"
    valid = b"row_driver: {value: 0.1, unit: pJ, source: mine}\nshift_add: {value: 1, unit: pJ}\n"

    def read(content):
        path.write_bytes(content)
        EnergyTable.load(path)

    read(valid)
    fuzz("energy table", valid, read, ValueError)


@pytest.mark.parametrize("name", ["device", "adc", "dac"])
def test_no_table_of_measurements_does_harm(tmp_path, name):
    path = tmp_path / "table.csv"
    whole = (EXAMPLES / f"{name}.csv").read_text().splitlines(keepends=True)
    valid = "".join(whole[:1] + whole[1::16] if name == "device" else whole).encode()

    def read(content):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            getattr(measured, f"read_{name}")(path)

    read(valid)
    fuzz(name, valid, read, ValueError)
