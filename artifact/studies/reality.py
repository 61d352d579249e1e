"""Which conclusions survive a real device: accuracy, effect by effect, and C2 to C6 once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from artifact import claims, data
from artifact.checkpoints import load_float
from artifact.paths import ROOT
from artifact.statistics import mean_interval, redrawn
from artifact.studies import common, limits, real_devices, sampling, trends
from artifact.studies.carried import NO, OPEN, YES, counted, pick, same, trend_told
from artifact.studies.nonidealities import of_family, random_walk
from artifact.studies.sparsity import macros
from artifact.sweep import Point
from nvlib import Chip, EnergyTable, Hardware, QuantizedNetwork, SenseColumn, fine_tune
from nvlib.converters import Adc
from nvlib.cost import cost
from nvlib.energy import (
    AdcLaw,
    adc_saving,
    efficiency_gain,
    inference_energy,
    operations,
    tops_per_watt,
)
from nvlib.presets import NAMES
from nvlib.sparsity import ActiveRowBound, ColumnBound, ZeroSkip
from nvlib.training import Recipe

PRECISIONS = ("W8A8", "W4A4", "W4A3", "W2A3")
#: INL of the converters, drawn for each array, in their LSB.
INL_LSB = 1.0
IDEAL, CONVERTERS = "ideal", "converters"
COMPENSATED, TUNED = "compensation", "noise-aware training"
#: Added to the count of active rows, for the cells of the sense column vary too.
GUARD_ROWS = 4
#: Points below floating point of which C2 is judged, as without devices.
WITHIN = 0.5
SAMPLES = 1000
CERTAIN = 0.95
TUNING = Recipe(epochs=1)


def ladder(preset: str) -> dict[str, Hardware]:
    """Hardware after each effect, by name; the effects add up. Last, the ways back.

    Examples
    --------
    >>> list(ladder("RRAM"))
    ['ideal', 'write errors', 'finite on/off', 'wires', 'converters', 'compensation', ...]
    """
    acting: list[str] = []
    found = {IDEAL: real_devices.hardware(preset, acting)}
    for effect, presets in real_devices.EFFECTS.items():
        acting.append(effect)
        if preset in presets:
            found[effect] = real_devices.hardware(preset, acting)
    adc = replace(real_devices.FINE, nonlinearity=random_walk("inl_lsb", INL_LSB))
    found[CONVERTERS] = real_devices.hardware(preset, adc=adc)
    found[COMPENSATED] = found[TUNED] = real_devices.compensated(preset, adc=adc)
    return found


def points(
    dataset: str, images: int, chips: int, train_images: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Every preset and precision that networks are shipped of."""
    sizes = {"images": images, "chips": chips, "train_images": train_images}
    return _points(dataset, NAMES, sizes, checkpoints)


def _points(
    dataset: str, presets: Sequence[str], sizes: dict[str, int], checkpoints: str
) -> list[Point]:
    return [
        {"dataset": dataset, "preset": preset, "precision": precision, **sizes,
         "checkpoints": checkpoints}
        for preset in presets
        for precision in PRECISIONS
        if common.training_seeds(dataset, precision, checkpoints)
    ]  # fmt: skip


def point(
    dataset: str, preset: str, precision: str, images: int, chips: int, train_images: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Accuracy (%) of each chip after each effect, of floating point too, on the same images."""
    results = []
    for trial in range(chips):
        sample, pixels, labels = _images(dataset, trial, images, checkpoints)
        net, seed = _network(dataset, precision, trial, checkpoints)

        def add(step: str, classes: np.ndarray) -> None:
            right = float(100 * sample.weights @ (classes == labels))  # noqa: B023
            results.append({"step": step, "trial": trial, "accuracy": round(right, 6)})  # noqa: B023

        add("float", common.classes(dataset, "float", seed, "qat", checkpoints, pixels))
        for step, hardware in ladder(preset).items():
            if step == TUNED:
                net = tuned(dataset, preset, precision, train_images, checkpoints)
            add(step, Chip(net, hardware, trial).predict(pixels, threads=1))
    return {"results": results}


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each chip after each effect."""
    keys = ["dataset", "preset", "precision", "images", "train_images"]
    return pd.DataFrame(
        [{key: row[key] for key in keys} | result
         for row in table.to_dict("records") for result in row["results"]]
    )  # fmt: skip


def _images(
    dataset: str, trial: int, images: int, checkpoints: str
) -> tuple[sampling.Sample, np.ndarray, np.ndarray]:
    sample = sampling.of_trial(dataset, 0, trial, images, checkpoints)
    pixels, labels = common.test_images(dataset, None)
    return sample, pixels[sample.chosen], labels[sample.chosen]


def _network(
    dataset: str, precision: str, trial: int, checkpoints: str
) -> tuple[QuantizedNetwork, int]:
    """Trials take the training seeds in turn."""
    seeds = common.training_seeds(dataset, precision, checkpoints)
    seed = seeds[trial % len(seeds)]
    return common.network(dataset, precision, seed, checkpoints), seed


@lru_cache(maxsize=4)
def tuned(
    dataset: str, preset: str, precision: str, train_images: int, checkpoints: str
) -> QuantizedNetwork:
    """The network of training seed 0, trained on for seconds with chips in the loop.

    Each step meets freshly written cells and their wires; converters stay out, and so does ageing,
    which compensation makes up for. Between processors the floats of training may round otherwise.
    """
    net, digits = common.network(dataset, precision, 0, checkpoints), data.load(dataset)
    model = load_float(common.name_of(dataset, "float", 0, "qat"), Path(ROOT / checkpoints))
    with torch.no_grad():
        for layer in net.layers:
            module: Any = model.get_submodule(layer.spec.name)
            module.weight.copy_(torch.from_numpy(layer.codes * layer.weight_scale))
            module.bias.copy_(torch.from_numpy(layer.bias))
    acting = [effect for effect in real_devices.EFFECTS if effect != "ageing"]
    pixels = torch.from_numpy(digits.train_images[:train_images].astype(np.float32))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # floats that are added by several of them round otherwise
    network = fine_tune(
        model, pixels, digits.train_labels[:train_images], precision,
        hardware=real_devices.hardware(preset, acting), recipe=TUNING, progress=False,
    )  # fmt: skip
    torch.set_num_threads(threads)
    return network


def search_points(
    dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Of `requirements.search_point`: how much each device, and its converters, may still err."""
    return [
        {"dataset": dataset, "precisions": " ".join(common.PAIR), "nonideality": name,
         "scheme": "differential", "training": "qat", "seed": 0, "trials": chips,
         "images": images, "checkpoints": checkpoints}
        for name in of_family("real device", "real converter")
    ]  # fmt: skip


def cost_points(
    dataset: str, images: int, cost_images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Ideal cells and every preset, at every precision that networks are shipped of."""
    sizes = {"images": images, "cost_images": cost_images, "chips": chips}
    return _points(dataset, (IDEAL, *NAMES), sizes, checkpoints)


def cost_point(
    dataset: str, preset: str, precision: str, images: int, cost_images: int, chips: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Energy of an inference, what sparsity saves and gains, and the images that it then loses.

    Of a preset: its conductance in the energy of the cells, `GUARD_ROWS`, and standby for as long
    as an inference takes where all columns of an array share one converter.
    """
    net = common.network(dataset, precision, 0, checkpoints)
    hardware, bits = common.default_hardware(net, dataset), common.adc_bits_of(precision)
    table, guard, law = EnergyTable.load(), 0, AdcLaw()
    if preset != IDEAL:
        real, guard = real_devices.compensated(preset), GUARD_ROWS
        hardware = replace(
            hardware, devices=real.devices, wires=real.wires, compensated=real.compensated
        )
        table = replace(table, on_conductance=real.devices.on_conductance_s)
    pixels, _ = common.test_images(dataset, cost_images)
    chip = Chip(net, hardware)
    events = chip.events(pixels)
    policies = (ZeroSkip(), ActiveRowBound(guard), ColumnBound())
    whole = sum(inference_energy(events, (), real_devices.FINE.bits or 8, law, table).values())
    before, after = (inference_energy(events, p, bits, law, table) for p in ((), policies))
    saving, tables = adc_saving(before, after), []
    for energy, spared in ((before, ()), (after, policies)):
        tables.append(cost(chip, events, policies=spared))
        if preset != IDEAL:
            energy["standby"] = float(tables[-1]["standby_pj"].iloc[-1])
    layers, network = tables[-1].iloc[:-1], tables[-1].iloc[-1]
    spent, interval = sum(after.values()), float(layers["latency_us"].max())
    found = {
        "energy_nj": whole / 1000, "saving": saving, "gain": efficiency_gain(before, after),
        "tops_per_watt": tops_per_watt(events, after),
        # Layers are pipelined: an image every `interval`.
        "tops_per_mm2": operations(events) / 1e6 / interval / float(network["area_mm2"]),
        "energy_delay_nj_us": spent / 1000 * float(network["latency_us"]),
    }  # fmt: skip
    if precision in common.PAIR and preset != IDEAL:
        found["guarded_loss"] = _guarded_loss(
            dataset, preset, precision, images, chips, checkpoints
        )
    return found


def _guarded_loss(
    dataset: str, preset: str, precision: str, images: int, chips: int, checkpoints: str
) -> float:
    """Points that stopping at what the sense column measures costs, mean over chips."""
    plain = real_devices.compensated(preset, adc=Adc(8))
    sensed = replace(plain, sense=SenseColumn(GUARD_ROWS))
    lost = []
    for trial in range(chips):
        sample, pixels, labels = _images(dataset, trial, images, checkpoints)
        net, _ = _network(dataset, precision, trial, checkpoints)
        right = [Chip(net, h, trial).predict(pixels, threads=1) == labels for h in (plain, sensed)]
        lost.append(100 * sample.weights @ (right[0].astype(float) - right[1]))
    return round(float(np.mean(lost)), 6)


def beside(costs: pd.DataFrame) -> pd.DataFrame:
    """Efficiency of our chips, sparsity-aware, beside published macros and systems.

    Ours are systems by what is counted: arrays, converters, buffers and interconnect, layers
    pipelined; no host, no links between chips.
    """
    ours = costs[costs["precision"].isin(common.PAIR)]
    names = [f"{row.precision}, {row.preset} cells" for row in ours.itertuples()]
    ours = ours.assign(name=names, kind="system (ours, counted)", source="reality_costs.csv")
    columns = ["name", "kind", "tops_per_watt", "tops_per_mm2", "energy_delay_nj_us", "source"]
    return pd.concat([ours, macros()], ignore_index=True)[columns]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over chips and images at each step, and its 95 % interval; what was lost since ideal.

    Returns
    -------
    DataFrame
        Columns preset, precision, step, accuracy, lower, upper (%), lost (points).
    """
    rows = []
    for (preset, precision), chips in table.groupby(["preset", "precision"], sort=False):
        ideal = chips[chips["step"] == IDEAL]["accuracy"].mean()
        for step, group in chips[chips["step"] != "float"].groupby("step", sort=False):
            lower, upper = mean_interval(group["accuracy"].to_numpy())
            mean = group["accuracy"].mean()
            rows.append(
                {"preset": preset, "precision": precision, "step": step, "accuracy": mean,
                 "lower": lower, "upper": min(upper, 100.0), "lost": ideal - mean}
            )  # fmt: skip
    return pd.DataFrame(rows)


def title(told: pd.DataFrame) -> str:
    """What is lost at worst with everything at once, and with compensation."""
    worst = [
        told[told["step"] == step].sort_values("lost").iloc[-1]
        for step in (CONVERTERS, COMPENSATED)
    ]
    parts = [f"{row['lost']:.1f} points ({row['precision']}, {row['preset']})" for row in worst]
    return f"All at once costs up to {parts[0]}; compensation leaves {parts[1]}"


def picked(accuracies: pd.DataFrame, costs: pd.DataFrame, preset: str, step: str) -> pd.Series:
    """Share of bootstrap samples over chips that pick each precision by the rule of C2.

    The rule is the least energy within `WITHIN` points of floating point, on the same chips.
    """
    mine = accuracies[accuracies["preset"] == (NAMES[0] if preset == IDEAL else preset)]
    energy = costs[costs["preset"] == preset].set_index("precision")["energy_nj"].sort_values()
    wide = mine[mine["step"] == step].pivot(index="precision", columns="trial", values="accuracy")
    chips = wide.loc[energy.index].to_numpy()  # (precisions, trials)
    floats = mine[mine["step"] == "float"].groupby("trial")["accuracy"].mean().to_numpy()
    position = np.random.default_rng(0).random((SAMPLES, len(floats)))
    drawn = redrawn(position, len(floats))  # (samples, trials)
    good = chips[:, drawn].mean(axis=-1) >= floats[drawn].mean(axis=-1) - WITHIN
    return pick(good, list(energy.index))


def conclusions(
    accuracies: pd.DataFrame, trials: pd.DataFrame, costs: pd.DataFrame, known: pd.DataFrame
) -> pd.DataFrame:
    """C2 to C6 on ideal and on real devices: columns claim, ideal, real devices, survives.

    Parameters
    ----------
    accuracies, trials, costs : DataFrame
        Tidy, of `point`, `search_points` and `cost_point`.
    known : DataFrame
        Trials of the requirements, device and converter, whose other effects are ideal.
    """
    rows = [_compromise(accuracies, costs), *_trends(trials, known), _requirements(trials)]
    for claim, what in (("C5", "saving"), ("C6", "gain")):
        rows += [_sparsity(costs, claim, what, precision) for precision in common.PAIR]
    return pd.DataFrame(rows, columns=["claim", "ideal", "real devices", "survives"])


def _compromise(accuracies: pd.DataFrame, costs: pd.DataFrame) -> tuple[str, str, str, str]:
    best = picked(accuracies, costs, IDEAL, IDEAL)
    told, shares = [], []
    for preset in NAMES:
        found = picked(accuracies, costs, preset, COMPENSATED)
        shares.append(float(found.get(best.index[0], 0.0)))
        again = f", {best.index[0]} {_percent(shares[-1])}" * (found.index[0] != best.index[0])
        told.append(f"{preset} {found.index[0]} ({_percent(found.iloc[0])}{again})")
    # What is not sure on ideal devices cannot survive for sure.
    sure = best.iloc[0] >= CERTAIN
    word = YES if min(shares) >= CERTAIN else NO if min(shares) <= 1 - CERTAIN else OPEN
    return (
        f"C2: least energy within {WITHIN:g} points of float",
        f"{best.index[0]} ({_percent(best.iloc[0])} of the bootstrap)", ", ".join(told),
        word if sure else OPEN,
    )  # fmt: skip


def _trends(trials: pd.DataFrame, known: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    def said(table: pd.DataFrame) -> pd.DataFrame:
        default = (table["scheme"] == "differential") & (table["training"] == "qat")
        return trends.verdicts(trends.ratios(table[default])).set_index("family")

    ideal, real, rows = said(known), said(trials), []
    for claim, what, family in (
        ("C3a", "device variation", "device"), ("C3b", "converter nonlinearity", "nonlinearity")
    ):  # fmt: skip
        before = ideal.loc[family]
        after = real.loc["real device" if family == "device" else "real converter"]
        word = same(before["verdict"], after["verdict"])
        told = trend_told(before), trend_told(after)
        rows.append((f"{claim}: W8A8 against W4A3, {what}", *told, word))
    return rows


def _requirements(trials: pd.DataFrame) -> tuple[str, str, str, str]:
    """C4: how many times its published spread costs a point, with everything else on."""
    found = limits.limits(trials)
    found = found[found["nonideality"].str.startswith("write errors")]
    told = [
        f"{name.split(', ')[1]} " + " and ".join(
            f"{limits.told(row)} ({row.precision})" for row in group.itertuples())
        for name, group in found.groupby("nonideality", sort=False)
    ]  # fmt: skip
    held = found["lower"] > 1
    failed = (found["upper"] < 1) | (found["bound"] == "<")
    word = YES if held.all() else NO if failed.any() else OPEN
    return (
        "C4: every published device meets the requirement", "its spread may be as published",
        f"times the published spread: {', '.join(told)}", word,
    )  # fmt: skip


def _sparsity(
    costs: pd.DataFrame, claim: str, what: str, precision: str
) -> tuple[str, str, str, str]:
    """Survives if within the claim's tolerance of the ideal value for every device."""
    mine = costs[costs["precision"] == precision].set_index("preset")
    key = f"{claim}_{precision}"
    ideal, near = float(mine.loc[IDEAL, what]), claims.expected()[key]["tolerance"]
    values = [float(mine.loc[preset, what]) for preset in NAMES]
    told = ", ".join(
        f"{preset} {claims.show(value, key)}" for preset, value in zip(NAMES, values, strict=True)
    )
    if what == "saving":
        lost = mine.loc[list(NAMES), "guarded_loss"].max()
        told += f"; {GUARD_ROWS} guard rows cost at most {lost:.1f} points"
    word = YES if all(abs(value - ideal) <= near for value in values) else NO
    names = {"saving": "ADC energy saved", "gain": "efficiency gained"}
    return f"{claim}: {names[what]} at {precision}", claims.show(ideal, key), told, word


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def sentence(found: pd.DataFrame) -> str:
    """How many conclusions survive, and which do not."""
    verbs = {YES: ("survives", "survive"), NO: ("does not", "do not"),
             OPEN: ("is undecided", "are undecided")}  # fmt: skip
    names = [claim.split(":")[0] + _of(claim) for claim in found["claim"]]
    return counted("conclusions", names, list(found["survives"]), verbs)


def _of(claim: str) -> str:
    return f" {claim[-4:]}" if claim.startswith(("C5", "C6")) else ""
