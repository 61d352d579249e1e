"""Whether the claims carry over to a harder task: ResNet-20 on CIFAR-10, beside LeNet-5 on MNIST.

Hardware, nonidealities and rules are those of the claims, and so is the code that applies them:
`requirements` searches the limits, `decomposition` counts the saving, `compromise` picks a
precision. What LeNet-5 says is what the notebooks of the claims recorded.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from artifact import claims, data, fetch, recipes
from artifact.statistics import mean_interval, paired_interval, redrawn
from artifact.studies import common, compromise, decomposition, limits, trends
from artifact.studies.carried import NO, OPEN, YES, counted, pick, same, trend_told
from artifact.sweep import Point
from nvlib import Adc, Chip, Hardware
from nvlib.sparsity import ALL_POLICIES

DATASET = data.OTHER_TASK
#: Where its networks lie, relative to the artifact: a manifest of their own vouches for them.
CHECKPOINTS = f"{common.SHIPPED}/harder"
TRAININGS = ("ptq", "qat")
PRECISIONS = tuple(map(str, recipes.HARDER))
#: Nonidealities whose limits are sought: of the cells as written, broken cells, and converters.
NONIDEALITIES = ("range variation", "stuck cells", "ADC INL")
#: Bits of converters that are read; 8 lose nothing.
READ_BITS = (4, 5, 6, 7)
#: Spreads of the cells that noise-aware training is tried on.
SIGMAS = (0.0, 0.025, 0.05, 0.1, 0.15)
#: Points that W4A3 may lose, and within which C2 chooses.
WITHIN = 1.0
NETWORKS = ("LeNet-5", "ResNet-20")
#: What stands above their columns.
COLUMNS = tuple(
    f"{name}, {data.LABELS[dataset]}"
    for name, dataset in zip(NETWORKS, ("mnist", DATASET), strict=True)
)


def at_hand(dataset: str) -> bool:
    """Whether CIFAR-10 is there, and MNIST as the notebook's data set; says so if not."""
    try:
        if dataset != "mnist":
            raise fetch.DataUnavailableError("LeNet-5 beside needs MNIST, which is not at hand")
        data.load(DATASET)
    except fetch.DataUnavailableError as error:
        print(f"{error}. Nothing is computed here: the recorded tables are shown")
        return False
    return True


def chip_points(
    images: int, read_images: int, bits_images: int, cost_images: int,
    checkpoints: str = CHECKPOINTS,
) -> list[Point]:  # fmt: skip
    """The float network, and every precision under every recipe.

    Parameters
    ----------
    images : int
        Test images of the networks alone.
    read_images, bits_images : int
        Test and training images that each chip reads.
    cost_images : int
        Test images that energies are averaged over.
    """
    return [
        {"dataset": DATASET, "training": training, "precision": precision, "seed": 0,
         "images": images, "read_images": read_images, "bits_images": bits_images,
         "cost_images": cost_images, "checkpoints": checkpoints}
        for training in TRAININGS
        for precision in ("float", *PRECISIONS)
    ]  # fmt: skip


def chip_point(
    dataset: str, training: str, precision: str, seed: int, images: int, read_images: int,
    bits_images: int, cost_images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Accuracy and energy of chips by their converters' resolution, as `compromise.point` has them.

    The accuracy of a chip is that of the network on all images, plus what the chip gains on those
    that it reads.
    """
    pixels, labels = common.test_images(dataset, images)
    right = common.classes(dataset, precision, seed, training, checkpoints, pixels) == labels
    if precision == "float":
        return {"results": [{"scheme": "none", "bits": 0, **_by_block(right)}]}
    net, digits = (
        common.network(dataset, precision, seed, checkpoints, training),
        data.load(dataset),
    )
    seen, answers = digits.train_images[-bits_images:], digits.train_labels[-bits_images:]
    results = []
    for bits in (*READ_BITS, compromise.LOSSLESS_BITS):
        chip = Chip(net, common.calibrated(net, Hardware(adc=Adc(bits=bits)), dataset))
        asked = right[:read_images]
        if bits == compromise.LOSSLESS_BITS:  # says what the network says, to the last bit
            trained, read = net.predict(seen), asked
        else:
            trained = chip.predict(seen, threads=1)
            read = chip.predict(pixels[:read_images], threads=1) == labels[:read_images]
        lost, gained = int((asked & ~read).sum()), int((read & ~asked).sum())
        events = chip.events(pixels[:cost_images])
        plain, sparse = (common.energy_nj(events, spared, bits) for spared in ((), ALL_POLICIES))
        results.append(
            {"scheme": "differential", "bits": bits, "train_right": int((trained == answers).sum()),
             "lost": lost, "gained": gained, "energy_nj": plain, "sparse_nj": sparse,
             **_by_block(right, 100 * (gained - lost) / len(asked))}
        )  # fmt: skip
    return {"results": results}


def _by_block(right: np.ndarray, gained: float = 0.0) -> Point:
    """Accuracy (%) on each block of test images, and what a chip gains (points) on all of them.

    Blocks are of images that follow each other: every tenth one of CIFAR-10 is of one class.
    """
    parts = np.array_split(right, compromise.BLOCKS)
    accuracies = [round(100 * float(part.mean()) + gained, 4) for part in parts]
    return dict(zip(compromise.ACCURACIES, accuracies, strict=True))


def search_points(trials: int, images: int, checkpoints: str = CHECKPOINTS) -> list[Point]:
    """Of `requirements.search_point`: limits of both precisions of the claims."""
    return [
        {"dataset": DATASET, "precisions": " ".join(common.PAIR), "nonideality": name,
         "scheme": "differential", "training": "qat", "seed": 0, "trials": trials,
         "images": images, "checkpoints": checkpoints}
        for name in NONIDEALITIES
    ]  # fmt: skip


def varied_points(images: int, chips: int, checkpoints: str = CHECKPOINTS) -> list[Point]:
    """Chips whose cells vary, of W4A3 trained with and without such cells."""
    return [
        {"dataset": DATASET, "training": training, "sigma": sigma, "seed": seed, "images": images,
         "checkpoints": checkpoints}
        for training in ("qat", "noise-aware")
        for sigma in SIGMAS
        for seed in range(chips)
    ]  # fmt: skip


def varied_point(
    dataset: str, training: str, sigma: float, seed: int, images: int, checkpoints: str
) -> Point:
    """Right answers of one chip at W4A3, on images of its own."""
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(data.load(dataset).test_labels), images, replace=False)
    digits, net = data.load(dataset), common.network(dataset, "W4A3", 0, checkpoints, training)
    chip = Chip(net, recipes.varied_hardware(sigma), seed)
    return {"correct": common.correct(chip, digits.test_images[chosen], digits.test_labels[chosen])}


def conclusions(
    chips: tuple[pd.DataFrame, pd.DataFrame], trials: tuple[pd.DataFrame, pd.DataFrame],
    parts: tuple[pd.DataFrame, pd.DataFrame],
) -> pd.DataFrame:  # fmt: skip
    """Every statement for both networks: columns statement, one for each network, carries over.

    Parameters
    ----------
    chips, trials, parts : (DataFrame, DataFrame)
        Of LeNet-5 and of ResNet-20, as `compromise`, `requirements` and `decomposition` give them.
    """
    known = tuple(_sought(table) for table in trials)
    rows = [_accuracy(chips, training) for training in TRAININGS]
    rows += [_compromise(chips), *_trends(known), *_requirements(known), _converters(chips)]
    for claim, what in (("C5", "saving"), ("C6", "gain")):
        rows += [_sparsity(parts, claim, what, precision) for precision in common.PAIR]
    return pd.DataFrame(rows, columns=["statement", *COLUMNS, "carries over"])


def _sought(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials of what both networks were asked, on the default scheme."""
    default = (trials["scheme"] == "differential") & (trials["training"] == "qat")
    pair = trials["precision"].isin(common.PAIR) & trials["nonideality"].isin(NONIDEALITIES)
    return trials[default & pair]


def _blocks(chips: pd.DataFrame, training: str, precision: str) -> np.ndarray:
    """Accuracy (%) on each block of test images, mean over training seeds, without hardware."""
    mine = chips[(chips["training"] == training) & (chips["precision"] == precision)]
    if precision != "float":
        lossless = mine["bits"] == compromise.LOSSLESS_BITS
        mine = mine[lossless & (mine["scheme"] == "differential")]
    return mine[compromise.ACCURACIES].to_numpy().mean(axis=0)


def lost(chips: pd.DataFrame, training: str, precision: str) -> tuple[float, float, float]:
    """Points that a precision loses to floating point, with the 95 % interval over test images."""
    less = _blocks(chips, training, "float") - _blocks(chips, training, precision)
    return float(less.mean()), *mean_interval(less)


Row = tuple[str, ...]


def _accuracy(chips: tuple[pd.DataFrame, ...], training: str) -> Row:
    """C1: whether W4A3 is within `WITHIN` points of floating point."""
    found = [lost(table, training, "W4A3") for table in chips]
    words = [YES if high <= WITHIN else NO if low > WITHIN else OPEN for _, low, high in found]
    told = (f"{value:.1f} [{low:.1f}, {high:.1f}] points lost" for value, low, high in found)
    how = {"ptq": "after training", "qat": "quantization-aware"}[training]
    return f"C1 {how}: W4A3 within {WITHIN:g} point of float", *told, same(*words)


def picked(chips: pd.DataFrame, samples: int = 2000) -> pd.Series:
    """Share of bootstrap samples over images that pick each precision by C2's rule.

    Of `PRECISIONS`, the least energy within `WITHIN` points of floating point, with the converters
    that each needs. Blocks of images are drawn anew, and what a chip gains on the images it reads.
    """
    fine = compromise.least_bits(chips)
    fine = fine[(fine["training"] == "qat") & (fine["scheme"] == "differential")]
    fine = fine.assign(error=_reading_error(fine))
    means = fine.groupby("precision")[["energy_nj", "error", *compromise.ACCURACIES]].mean()
    means = means.loc[list(PRECISIONS)].sort_values("energy_nj")
    shares, floats = means[compromise.ACCURACIES].to_numpy(), _blocks(chips, "qat", "float")
    generator = np.random.default_rng(0)
    drawn = redrawn(generator.random((samples, len(floats))), len(floats))  # (samples, blocks)
    gained = means["error"].to_numpy()[:, None] * generator.normal(size=(len(means), samples))
    good = shares[:, drawn].mean(axis=-1) + gained >= floats[drawn].mean(axis=-1) - WITHIN
    return pick(good, list(means.index))


def _reading_error(chips: pd.DataFrame) -> np.ndarray:
    """Standard error (points) of what chips gain, which is known from the images they read alone.

    Lossless converters gain nothing; where `compromise` made the table, every block has its own.
    """
    if "lost" not in chips:
        return np.zeros(len(chips))
    counts = chips[["lost", "gained", "read_images"]].astype(int).to_numpy()
    ends = np.array([paired_interval(*count)[1:] for count in counts])
    error = (ends[:, 1] - ends[:, 0]) / (2 * stats.norm.ppf(0.975))
    return np.where(chips["bits"] == compromise.LOSSLESS_BITS, 0.0, error)


def _compromise(chips: tuple[pd.DataFrame, ...]) -> Row:
    found = [picked(table) for table in chips]
    told = (f"{best.index[0]} ({100 * best.iloc[0]:.0f} % of the bootstrap)" for best in found)
    sure = all(best.iloc[0] >= 0.95 for best in found)
    word = same(*(best.index[0] for best in found)) if sure else OPEN
    return f"C2: least energy within {WITHIN:g} point of float", *told, word


def _trends(trials: tuple[pd.DataFrame, ...]) -> list[Row]:
    found = [trends.verdicts(trends.ratios(table)).set_index("family") for table in trials]
    rows = []
    for claim, what, family in (
        ("C3a", "range variation and stuck cells", "device"), ("C3b", "INL alone", "nonlinearity")
    ):  # fmt: skip
        mine = [table.loc[family] for table in found]
        told = map(trend_told, mine)
        word = same(*(row["verdict"] for row in mine))
        rows.append((f"{claim}: W8A8 against W4A3, {what}", *told, word))
    return rows


def _requirements(trials: tuple[pd.DataFrame, ...]) -> list[Row]:
    """C4: whether hardware that is good enough for LeNet-5 is so for ResNet-20 too."""
    keys, rows = ["nonideality", "precision"], []
    small, large = (limits.limits(table).set_index(keys) for table in trials)
    for name in NONIDEALITIES:
        told = [
            ", ".join(f"{limits.told(table.loc[name, p])} ({p})" for p in common.PAIR)
            for table in (small, large)
        ]
        enough = [large.loc[(name, p), "lower"] >= small.loc[(name, p), "limit"]
                  for p in common.PAIR]  # fmt: skip
        short = [large.loc[(name, p), "upper"] < small.loc[(name, p), "limit"]
                 for p in common.PAIR]  # fmt: skip
        word = YES if all(enough) else NO if any(short) else OPEN
        unit = large.loc[(name, common.PAIR[0]), "unit"]
        rows.append((f"C4 {name}: LeNet-5's limit is enough ({unit})", *told, word))
    return rows


def losses(chips: tuple[pd.DataFrame, ...]) -> pd.DataFrame:
    """What `lost` says of both networks, every recipe and precision."""
    return pd.DataFrame(
        [(name, training, precision, *lost(table, training, precision))
         for training in TRAININGS for precision in PRECISIONS
         for name, table in zip(NETWORKS, chips, strict=True)],
        columns=["network", "training", "precision", "lost", "lower", "upper"],
    )  # fmt: skip


def ratios(trials: tuple[pd.DataFrame, ...]) -> pd.DataFrame:
    """Limit of ResNet-20 over that of LeNet-5, with its 95 % interval: the two are independent."""
    small, large = (limits.curves(_sought(table)) for table in trials)
    rows = []
    for key, curve in large.items():
        ours, theirs = curve.estimate(limits.DELTA), small[key].estimate(limits.DELTA)
        error = np.hypot(ours.error()[0], theirs.error()[0])
        freedom = min(ours.error()[1], theirs.error()[1])
        half = float(stats.t.ppf(0.975, freedom) * error)
        value = ours.value - theirs.value
        ends = np.exp([value, value - half, value + half])
        rows.append((key[0], key[3], *ends))
    return pd.DataFrame(rows, columns=["nonideality", "precision", "ratio", "lower", "upper"])


def savings(parts: tuple[pd.DataFrame, ...]) -> pd.DataFrame:
    """Saving of each mechanism with those before it, of both networks."""
    tables = [
        decomposition.steps(table).assign(network=name)
        for name, table in zip(NETWORKS, parts, strict=True)
    ]
    found = pd.concat(tables, ignore_index=True)
    return found[found["against"] == "nothing"]


def title(lost: pd.DataFrame, ratios: pd.DataFrame, steps: pd.DataFrame) -> str:
    """How far the two networks are apart, in accuracy, limits and savings."""
    mine = lost[(lost["training"] == "qat") & (lost["precision"] == "W4A3")]
    small, large = mine.set_index("network")["lost"][list(NETWORKS)]
    whole = steps.groupby(["precision", "network"], sort=False)["saving"].last().unstack()
    apart = 100 * float((whole.iloc[:, 0] - whole.iloc[:, 1]).abs().max())
    lower, higher = (ratios["upper"] < 1).sum(), (ratios["lower"] > 1).sum()
    return (
        f"W4A3 costs ResNet-20 {large:.1f} points, LeNet-5 {small:.1f}; of {len(ratios)} limits "
        f"{lower} surely lower, {higher} higher; ADC savings up to {apart:.0f} points apart"
    )


def accuracies(chips: pd.DataFrame) -> pd.DataFrame:
    """ResNet-20 by recipe and precision: accuracy (%), the converters it needs, and its energy."""
    fine = compromise.least_bits(chips).set_index(["training", "precision"])
    rows = []
    for training in TRAININGS:
        for precision in ("float", *PRECISIONS):
            blocks = _blocks(chips, training, precision)
            row = {"training": training, "precision": precision, "accuracy": blocks.mean()}
            row |= dict(zip(("lower", "upper"), mean_interval(blocks), strict=True))
            if precision != "float":
                chip = fine.loc[(training, precision)]
                row |= {"converter bits": chip["bits"],
                        "on chip": chip[compromise.ACCURACIES].mean(),
                        "energy_nj": chip["energy_nj"],
                        "sparse_nj": chip["sparse_nj"]}  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def bits_needed(chips: pd.DataFrame) -> pd.Series:
    """Fewest bits of converters that lose at most 0.1 points, largest over training seeds."""
    fine = compromise.least_bits(chips)
    fine = fine[(fine["training"] == "qat") & (fine["scheme"] == "differential")]
    return fine.groupby("precision")["bits"].max()


def _converters(chips: tuple[pd.DataFrame, ...]) -> Row:
    """C4: whether the bits that LeNet-5 needs lose ResNet-20 at most `WITHIN` points.

    Where LeNet-5 needs fewer than ResNet-20 was read with, the fewest of these are taken, and said.
    """
    bits = bits_needed(chips[0])
    taken = bits.clip(lower=READ_BITS[0])
    large = chips[1].set_index(["training", "precision", "bits"])
    found = []
    for precision in common.PAIR:
        row = large.loc[("qat", precision, taken[precision])]
        found.append(paired_interval(row["lost"], row["gained"], row["read_images"]))
    words = [YES if high <= WITHIN else NO if low > WITHIN else OPEN for _, low, high in found]
    word = NO if NO in words else OPEN if OPEN in words else YES
    told = ", ".join(
        f"{value:.1f} [{low:.1f}, {high:.1f}] points lost ({precision}"
        + (f" at {taken[precision]:.0f} bits)" if taken[precision] > bits[precision] else ")")
        for precision, (value, low, high) in zip(common.PAIR, found, strict=True)
    )
    needed = ", ".join(f"{bits[p]:.0f} bits ({p})" for p in common.PAIR)
    return f"C4 converters: LeNet-5's lose at most {WITHIN:g} point", needed, told, word


def _sparsity(parts: tuple[pd.DataFrame, ...], claim: str, what: str, precision: str) -> Row:
    """Carries over if it surely differs by no more than the claim's tolerance."""
    key = f"{claim}_{precision}"
    found = [decomposition.intervals(table, precision)[what] for table in parts]
    told = (
        f"{claims.show(value, key)} [{claims.show(low, key)}, {claims.show(high, key)}]"
        for value, low, high in found
    )
    (_, low, high), (_, lower, upper) = found
    ends, allowed = (low - upper, high - lower), claims.expected()[key]["tolerance"]
    within = -allowed <= ends[0] and ends[1] <= allowed
    beyond = ends[0] > allowed or ends[1] < -allowed
    names = {"saving": "ADC energy saved", "gain": "efficiency gained"}
    word = YES if within else NO if beyond else OPEN
    return f"{claim} at {precision}: {names[what]}", *told, word


def sentence(found: pd.DataFrame) -> str:
    """How many statements carry over, and which do not."""
    verbs = {YES: ("carries over", "carry over"), NO: ("does not", "do not"),
             OPEN: ("is undecided", "are undecided")}  # fmt: skip
    names = list(found["statement"].str.split(":").str[0])
    return counted("statements", names, list(found["carries over"]), verbs)
