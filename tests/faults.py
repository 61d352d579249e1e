"""Puts deliberate faults into `nvlib`, one at a time, and tells which test catches each.

Usage: python tests/faults.py [--jobs N]. Every fault replaces one expression or statement of one
function, found by its syntax, in a copy of the artifact in a temporary folder. There the tests of
its module, then all others and the notebooks' checks run until the first failure. A campaign that
was stopped goes on where it was. Ends with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    """One fault: what it is, where, and the code that is replaced by other code."""

    what: str
    module: str  # of `nvlib`, or a path without its suffix
    function: str  # by its qualified name
    sound: str  # one expression or one statement, in any spelling
    faulty: str


FAULTS = tuple(Fault(*fault) for fault in (
    ("a flipped polarity", "mapping", "map_weights", "np.array([1, -1])", "np.array([1, 1])"),
    ("a lost remainder tile", "mapping", "ArrayMapping.tiles", "range(0, inputs, self.rows)",
     "range(0, max(inputs - inputs % self.rows, 1), self.rows)"),
    ("a wrong slice weight", "mapping", "map_weights", "1 << shifts", "1 << shifts // 2"),
    ("a signed digit on the wrong side", "mapping", "signed_digits",
     "(threefold & changed, half & changed)", "(half & changed, threefold & changed)"),
    ("an offset too small by one", "mapping", "map_weights",
     "stored, signs, offset = [(codes + limit) // step], signs[:1], limit",
     "stored, signs, offset = [(codes + limit) // step], signs[:1], limit - 1"),
    ("a sign slice that adds", "mapping", "map_weights", "np.append(coefficients, -top)",
     "np.append(coefficients, top)"),
    ("a wrong plane weight", "engine/kernel", "read_arrays", "plane * dac_bits",
     "plane * dac_bits // 2"),
    ("a row that sends its neighbour's currents", "engine/layout", "lay_out",
     "np.arange(len(groups)) - by_rows", "np.arange(len(groups))"),
    ("floor for round in the converter", "engine/layout", "lay_out",
     "arrays.lsb_steps // 2 + 0.5", "0.5"),
    ("a converter without a top code", "engine/layout", "lay_out", "float_type(arrays.code_max)",
     "float_type(2 * arrays.code_max)"),
    ("a group whose last row is lost", "engine/layout", "_pattern_sums",
     "bit < count", "bit < count - 1"),
    ("a neighbouring converter's curve", "engine/kernel", "read_arrays", "curves.codes[tile]",
     "curves.codes[0]"),
    ("a ReLU that is missing in a chain", "engine/kernel", "pool_and_quantize",
     "value = value if value > 0 else 0.0", "pass"),
    ("a pool that sees its first column only", "engine/kernel", "pool_and_quantize",
     "products[n, (y * pool + dy) * breadth + x * pool + dx]",
     "products[n, (y * pool + dy) * breadth + x * pool]"),
    ("noise that forgets the position", "engine/kernel", "read_arrays",
     "(position * planes + plane) * tiles + tile", "plane * tiles + tile"),
    ("noise that grows with all rows", "engine/kernel", "read_arrays", "cell * squared + own[0]",
     "cell * 128 + own[0]"),
    ("a column with the noise of the first", "engine/kernel", "read_arrays",
     "cell * sums[start + j] + own[j]", "cell * sums[start] + own[j]"),
    ("a slice whose code counts for another's", "arrays", "write_layer",
     "mapped.coefficients << coarser", "mapped.coefficients"),
    ("a row that the first of several reads leaves out for all", "engine/kernel", "_choose_apart",
     "word != 0", "flat[start] != 0"),
    ("a sense column without noise", "engine/kernel", "read_arrays",
     "spreads[sense] = np.sqrt(cell * squared + own[sense])", "spreads[sense] = 0"),
    ("columns that share their noise", "engine/noise", "normal", "np.uint32(high ^ step)",
     "np.uint32(high)"),
    ("an ignored chip seed", "chip", "Chip._write", "np.random.SeedSequence(self.seed)",
     "np.random.SeedSequence(0)"),
    ("noise that ignores the chip", "engine/noise", "ReadKeys.of", "self.seed", "0"),
    ("two phases that share their noise", "chip", "ArrayLayer.read",
     "keys.of(number, *(phase,) * phase)", "keys.of(number)"),
    ("another group's weights", "arrays", "parts_of", "layer.codes[columns]",
     "layer.codes[:outputs]"),
    ("a stride that is ignored", "engine/layout", "lay_out", "np.arange(out_w) * spec.stride[1]",
     "np.arange(out_w)"),
    ("a negative phase that is lost", "chip", "ArrayLayer.read",
     "products - found if phase else found", "products if phase else found"),
    ("a batch that changes the noise", "chip", "Chip._forward", "image_keys(images)",
     "np.arange(len(images), dtype=np.uint64)"),
    ("noise that ignores parts of a gray level", "engine/noise", "image_keys",
     "(small == images).reshape(len(images), -1).all(axis=1)", "np.ones(len(images), bool)"),
    ("variation of half the spread", "devices", "RangeVariation.apply",
     "cells.level_max", "cells.level_max / 2"),
    ("stuck cells of the other kind", "devices", "StuckCells.apply", "draw < self.on_rate",
     "draw < self.off_rate"),
    ("drift in the wrong direction", "devices", "RetentionDrift.apply", "-np.maximum(nu, 0)",
     "np.maximum(nu, 0)"),
    ("a pedestal off by one level", "devices", "DeviceModel.pedestal",
     "level_max / (self.on_off_ratio - 1)", "level_max / self.on_off_ratio"),
    ("INL of twice the size", "converters", "_error", "inl * course", "2 * inl * course"),
    ("a gain error of the wrong sign", "converters", "adc_transitions",
     "curve / (1 + nonlinearity.gain_error)", "curve * (1 + nonlinearity.gain_error)"),
    ("activations of one code too many", "quantizers", "Precision.activation_max",
     "2**self.activation_bits - 1", "2**self.activation_bits"),
    ("a bias that is forgotten", "network", "QuantizedLayer.real",
     "products * (gain * lsb) + bias", "products * (gain * lsb)"),
    ("a bias that is forgotten in a chain", "engine/kernel", "pool_and_quantize",
     "best[x, m] * gain[m] + bias[m]", "best[x, m] * gain[m]"),
    ("another channel's scale in a chain", "engine/kernel", "pool_and_quantize",
     "gain[m]", "gain[0]"),
    ("another group's scales", "arrays", "parts_of",
     "scales[columns]", "scales[:outputs]"),
    ("truncation between the layers", "quantizers", "to_codes",
     "(values / scale).clamp(lower, upper).round()",
     "(values / scale).clamp(lower, upper).floor()"),
    ("truncation within a chain", "engine/kernel", "pool_and_quantize", "np.rint(value)",
     "np.floor(value)"),
    ("a chain through a pooling that overlaps", "engine/chain", "_pool_side",
     "pairs[:2] == [pairs[0]] * 2", "True"),
    ("a chain whose value others take too", "engine/chain", "_chain",
     "step.forget != (steps[place - 1].name,)", "False"),
    ("a signed layer in a chain", "engine/chain", "_chain",
     "len(layer.parts) > 1 or layer.layer.signed", "len(layer.parts) > 1"),
    ("a padding that is forgotten", "graph/rewrites", "pad_digitally",
     "node.args = (padded,)", "pass"),
    ("tokens that pass for images", "engine/noise", "ReadKeys.check",
     "rows == len(self.images)", "True"),
    ("a skipped polarity in the bound", "sparsity", "ColumnBound.bound",
     "access.column_levels[None, :] * access.digit_max",
     "access.column_levels[None, :] // 2 * access.digit_max"),
    ("a miscounted conversion", "sparsity", "conversions_by_column", "range(adc_bits + 1)",
     "range(adc_bits)"),
    ("a bit too few", "sparsity", "resolved_bits", "np.ceil(np.log2(largest + 1))",
     "np.floor(np.log2(largest + 1))"),
    ("a plane that is walked twice", "events", "walk", "plane * mapping.dac_bits",
     "plane // 2 * 2 * mapping.dac_bits"),
    ("images that are counted once a phase", "chip", "Chip.events",
     "replace(total[number], images=len(images))", "total[number]"),
    ("a swapped unit", "energy", "inference_energy", "1e12", "1e9"),
    ("detection for nothing", "energy", "inference_energy",
     'total["detection"] += columns * table.comparator', "pass"),
    ("a saving over the wrong total", "energy", "adc_saving",
     '(after["adc"] + detection * after["detection"]) / before["adc"]',
     '(after["adc"] + detection * after["detection"]) / sum(before.values())'),
    ("a calibration that meets few pixels", "quantization", "_input_scale", "values[chosen]",
     "values[:: len(values) // FITTED_VALUES]"),
    ("one scale's gradient for all channels", "quantizers", "_StraightThrough.backward",
     "(grad * moving).sum_to_size(ctx.scale_shape)",
     "(grad * moving).sum().expand(ctx.scale_shape)"),
    ("training with the full scales of other layers", "training", "meet",
     "count += parts[path]", "count += 1"),
    ("gradients of what the chip does", "quantization", "FakeQuantizedLayer.forward",
     "(self.read(self, x.detach()) - outputs).detach()", "self.read(self, x.detach()) - outputs"),
    ("a drift fitted on a linear scale", "measured", "_fit_drift",
     'np.log(followed[["time_s", "conductance_s"]])', 'followed[["time_s", "conductance_s"]]'),
    ("codes packed without their last bit", "storage", "pack_codes",
     "codes.astype(np.int16).ravel() + 2 ** (bits - 1)",
     "(codes.astype(np.int16).ravel() + 2 ** (bits - 1)) // 2 * 2"),
    ("a chip of another seed in the file", "chip", "Chip.load", 'facts["seed"]', "0"),
    ("a worker that is not compared", "artifact/cluster", "compare", "found.get(name) != value",
     "not found"),
    ("carries one code early in a capacitor array", "converters", "_inl_course",
     "np.arange(2**bits - points, 2**bits)", "np.arange(1, points + 1)"),
    ("falling steps that pass for monotone", "converters", "_curve",
     "bool((np.diff(levels) > -1e-9).all())", "True"),
    ("a scale of inputs that no sample met", "quantization", "_input_scale",
     "x[x != 0][:FITTED_VALUES]", "values"),
    ("a chip's chance that C2 does not see", "artifact/studies/harder", "picked",
     "_reading_error(fine)", "0.0"),
    ("a limit at the wrong crossing", "artifact/studies/limits", "Curve.crossing",
     "np.cbrt(delta) - mean[beyond - 1]", "mean[beyond] - np.cbrt(delta)"),
    ("images that stand for too few", "artifact/studies/sampling", "draw",
     "len(part) / count / len(order)", "1 / images"),
    ("looks that cost nothing", "artifact/studies/trends", "_judged",
     "sequential_p(pooled.p_value(), LOOKS)", "pooled.p_value()"),
    ("a verdict without a tolerance", "artifact/verdicts", "_within",
     'abs(measured - entry["paper"]) <= entry["tolerance"]', 'abs(measured - entry["paper"]) <= 1'),
    ("layers that err alike", "chip", "Chip._write", "seeds[number]",
     "np.random.SeedSequence(self.seed)"),
    ("one converter for all arrays", "arrays", "write_layer",
     "np.array([adc.curve(mapping.largest_sum, converters) for _ in range(grid.arrays)])",
     "np.array([adc.curve(mapping.largest_sum, converters)] * grid.arrays)"),
    ("a digest that sees no converters", "chip", "Chip.digest",
     "(*cells, arrays.drive, arrays.curves)", "cells"),
    ("reference columns that hold nothing", "sparsity", "conversions_by_column",
     "np.full(references, tile.stop - tile.start)", "np.zeros(references, np.int64)"),
    ("reference columns that are not converted", "events", "LayerEvents.columns",
     "(self.arrays.mapped.offset > 0) * self.column_tiles", "0"),
    ("drivers of one array across", "energy", "inference_energy",
     "driven * arrays * table.row_driver * mapping.digit_max",
     "driven * table.row_driver * mapping.digit_max"),
    ("sense columns of one array across", "energy", "inference_energy",
     "event.accesses * arrays", "event.accesses"),
    ("sense converters finer than they need be", "energy", "inference_energy",
     "min((mapping.rows * mapping.digit_max).bit_length(), adc_bits)",
     "(mapping.rows * mapping.digit_max).bit_length()"),
    ("comparators that cost nothing", "energy", "inference_energy",
     "total['detection'] += event.accesses * event.zero_outputs.shape[1] * table.comparator",
     "pass"),
    ("a report of other cells", "cost", "report",
     "replace(EnergyTable.load(), on_conductance=siemens)", "EnergyTable.load()"),
    ("sums of the first block alone", "events", "LayerEvents.__add__",
     "{'arrays', 'positions', 'known'}",
     "{'arrays', 'positions', 'known', 'column_sums', 'zero_outputs'}"),
    ("cells that drift upwards", "devices", "RetentionDrift.apply", "np.maximum(nu, 0)", "nu"),
    ("sums that float32 does not hold", "programming", "program_layer", "largest < 2**24", "True"),
    ("a stopped training that forgets its draws", "training", "_resume",
     "generator.set_state(content['drawn'])", "None"),
    ("bits that are not the converters'", "sparsity", "conversions_by_column",
     "adc_bits == own or not policies", "True"),
    ("few trials that tell", "artifact/compare", "limits_agree",
     "both[['trials', 'trials_now']].min(axis=1) >= FEWEST",
     "both[['trials', 'trials_now']].min(axis=1) >= 0"),
    ("limits that are not held to their number", "artifact/compare", "limits_agree",
     "stats.norm.isf(0.025 / len(both))", "stats.norm.isf(0.025)"),
    ("stuck cells that are all on", "artifact/studies/nonidealities", "_stuck",
     "StuckCells(size / 2, size / 2)", "StuckCells(size, 0.0)"),
    ("a driver's INL in another unit", "artifact/studies/nonidealities", "_ladder",
     "size / 100 * mapping.digit_max", "size / 100"),
    ("an advantage that knows no images", "artifact/studies/advantage", "Advantage.ideal",
     "np.hypot(*(stats.sem(self.of_blocks.mean(axis=axis)) for axis in (0, 1)))",
     "stats.sem(self.of_blocks.mean(axis=1))"),
))  # fmt: skip
#: Modules and functions that have no tests of their own, and whose tests see them first.
TESTED_BY = {
    "nvlib/engine/layout": "nvlib/engine/kernel",
    "nvlib/engine/kernel.pool_and_quantize": "nvlib/engine/chain",
    **{f"artifact/studies/{name}": f"artifact/studies_{name}"
       for name in ("advantage", "harder", "limits", "nonidealities", "sampling", "trends")},
}  # fmt: skip
LONGEST_S = 1800


def left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy of the artifact does without: among the rest its pictures, not what draws."""
    unused = shutil.ignore_patterns(".venv", "build", ".git", "__pycache__", ".*_cache")
    return set(unused(folder, names)) | ({"figures"} if Path(folder) == ROOT else set())


def source(module: str) -> Path:
    """File of a module; those of `nvlib` are named without it."""
    inside = Path("nvlib", f"{module}.py")
    return inside if (ROOT / inside).is_file() else Path(f"{module}.py")


class _Replace(ast.NodeTransformer):
    """Replaces every node that reads like `sound`, and counts them."""

    def __init__(self, sound: str, faulty: str) -> None:
        self.sound, self.faulty, self.found = _node(sound), _node(faulty), 0

    def visit(self, node: ast.AST) -> ast.AST:
        """The node, or what replaces it."""
        kind = ast.stmt if isinstance(self.sound, ast.stmt) else ast.expr
        if isinstance(node, kind) and ast.unparse(node) == ast.unparse(self.sound):
            self.found += 1
            return self.faulty
        return self.generic_visit(node)


def _node(code: str) -> ast.stmt | ast.expr:
    """One statement, or the expression that it is."""
    (statement,) = ast.parse(code).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    """A function by its qualified name."""
    place: ast.AST = tree
    for part in name.split("."):
        (place,) = (
            node
            for node in ast.iter_child_nodes(place)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part
        )
    assert isinstance(place, ast.FunctionDef)
    return place


def with_fault(text: str, fault: Fault) -> str:
    """Source of a module with a fault in it.

    Raises
    ------
    ValueError
        If the code that it replaces does not stand exactly once in its function.
    """
    tree = ast.parse(text)
    try:
        function = _function(tree, fault.function)
    except ValueError as error:
        raise ValueError(
            f"{fault.what}: expected {fault.function} in {fault.module}, found none; mend FAULTS"
        ) from error
    change = _Replace(fault.sound, fault.faulty)
    function.body = [change.visit(statement) for statement in function.body]
    if change.found != 1:
        raise ValueError(
            f"{fault.what}: expected `{fault.sound}` once in {fault.module}.{fault.function}, "
            f"found it {change.found} times; mend FAULTS"
        )
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def selections(fault: Fault) -> list[list[str]]:
    """Tests to try in turn: the module's own, those of the simulator, the artifact, notebooks."""
    place = str(source(fault.module).with_suffix(""))
    place = TESTED_BY.get(f"{place}.{fault.function}", TESTED_BY.get(place, place))
    package, *_, name = place.split("/")
    own = f"tests/{Path(place).parent}/test_{name}.py"
    slow = [f"--ignore=tests/artifact/test_{name}.py" for name in ("install", "report")]
    rest = [["tests/artifact", *slow], ["--nbval-lax", "notebooks"]]
    simulator = [["tests/nvlib"]] * (package == "nvlib")
    return [[own]] * (ROOT / own).is_file() + simulator + rest


def first_failure(fault: Fault, folder: Path) -> dict[str, str]:
    """Name of the first test that fails with a fault in place; empty if none does.

    Each process has a copy of the artifact in `folder`, and puts what it changed there back. A test
    that fails without the fault too is an error: it tells nothing.
    """
    copy = folder / str(os.getpid())
    if not copy.is_dir():
        shutil.copytree(ROOT, copy, ignore=left_out)
        (copy / "figures").symlink_to(ROOT / "figures")
    path = copy / source(fault.module)
    sound = path.read_text(encoding="utf-8")
    path.write_text(with_fault(sound, fault), encoding="utf-8")
    caught = ""
    for selection in selections(fault):
        if caught := _failure(copy, selection):
            break
    path.write_text(sound, encoding="utf-8")
    if (tests := _file(caught)) and _failure(copy, ["--nbval-lax"] * ("ipynb" in tests) + [
        tests if "ipynb" in tests else caught
    ]):  # fmt: skip
        raise RuntimeError(f"{caught}: expected to pass without a fault, it fails; mend it first")
    return {"fault": fault.what, "module": fault.module, "caught by": caught}


def _file(caught: str) -> str:
    """File of the test that caught a fault; empty where that was no test."""
    name = caught.partition("::")[0]
    return name if (ROOT / name).is_file() else ""


def _failure(copy: Path, selection: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *selection],
            cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the time it takes"
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if failed or done.returncode in (0, 5):
        return failed[1] if failed else ""
    if "ImportError while loading conftest" in done.stderr:
        return "the import"
    raise RuntimeError(f"{selection}: expected tests, received {done.stdout}{done.stderr}")


def main() -> int:
    """Try the faults; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    kept = {fault: ROOT / "build" / "faults" / f"{_key(fault)}.json" for fault in FAULTS}
    known = {f: json.loads(path.read_text()) for f, path in kept.items() if path.is_file()}
    results = {
        f: one["result"] for f, one in known.items() if one["tests"] == _tests(one["result"])
    }
    rest = [fault for fault in FAULTS if fault not in results]
    with tempfile.TemporaryDirectory() as folder:
        work = (delayed(first_failure)(fault, Path(folder)) for fault in rest)
        done = Parallel(n_jobs=options.jobs, return_as="generator")(work)
        bar = tqdm(done, total=len(FAULTS), initial=len(results), unit="fault")
        for fault, result in zip(rest, bar, strict=True):
            results[fault] = result
            if result["caught by"]:  # what survived is tried again, once tests are mended
                kept[fault].parent.mkdir(parents=True, exist_ok=True)
                kept[fault].write_text(json.dumps({"result": result, "tests": _tests(result)}))
            bar.write(f"{fault.what}: {result['caught by'] or 'NOT CAUGHT'}")
    table = pd.DataFrame([results[fault] for fault in FAULTS])
    table.to_csv(ROOT / "results" / "faults.csv", index=False, lineterminator="\n")
    caught = (table["caught by"] != "").mean()
    print(table.to_string(index=False), f"\n{len(table)} faults, {caught:.0%} caught")
    return 0 if caught >= 0.95 else 1


def _tests(result: dict[str, str]) -> str:
    """Hash of the file of the test that caught a fault, as it stands."""
    tests = _file(result["caught by"])
    return hashlib.sha256((ROOT / tests).read_bytes()).hexdigest() if tests else ""


def _key(fault: Fault) -> str:
    """Of a fault in its module as it stands."""
    text = "\0".join(fault) + (ROOT / source(fault.module)).read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(main())
