"""Puts deliberate faults into `nvlib`, one at a time, and tells which test catches each.

Usage: python tests/faults.py [--jobs N]; about 15 minutes on 2 cores. Every fault is put into a
copy of the artifact in a temporary folder, where the unit tests and then the notebooks' checks
run until the first failure. Ends with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]

#: (what, module, sound code, faulty code)
FAULTS = (
    ("a flipped polarity", "mapping", "np.array([1, -1]), 1, 0", "np.array([1, 1]), 1, 0"),
    ("a lost remainder tile", "mapping", "starts = range(0, inputs, self.rows)",
     "starts = range(0, max(inputs - inputs % self.rows, 1), self.rows)"),
    ("a wrong slice weight", "mapping", "(1 << shifts)[:, None]", "(1 << shifts // 2)[:, None]"),
    ("a signed digit on the wrong side", "mapping", "return threefold & changed, half & changed",
     "return half & changed, threefold & changed"),
    ("an offset too small by one", "mapping", "signs, offset = np.array([1]), limit",
     "signs, offset = np.array([1]), limit - 1"),
    ("a wrong plane weight", "crossbar", "_weigh(coefficients, plane * dac_bits, width, weights)",
     "_weigh(coefficients, plane, width, weights)"),
    ("floor for round in the converter", "reading", "arrays.lsb_steps // 2 + 0.5", "0.5"),
    ("a converter without a top code", "crossbar", "code = code if code < top else top", "pass"),
    ("a group whose last row is lost", "crossbar", "rows[i, :count] = steps[row : row + count]",
     "rows[i, : count - 1] = steps[row : row + count - 1]"),
    ("a neighbouring converter's curve", "crossbar", "bent = (codes[tile], starts[block],",
     "bent = (codes[0], starts[block],"),
    ("a ReLU that is missing", "crossbar", "value = value if value > 0 else 0.0", "pass"),
    ("a pool that sees its first column only", "crossbar", "for dx in range(pool):",
     "for dx in range(1):"),
    ("noise that forgets the position", "crossbar",
     "read = (position * planes + plane) * tiles + tile", "read = plane * tiles + tile"),
    ("noise that grows with all rows", "crossbar",
     "spread = np.sqrt(cell_noise**2 * squared", "spread = np.sqrt(cell_noise**2 * 128"),
    ("an ignored chip seed", "chip", "np.random.SeedSequence(seed).spawn",
     "np.random.SeedSequence(0).spawn"),
    ("noise that ignores the chip", "chip", "access_key(self.seed, number, access, *phase)",
     "access_key(0, number, access, *phase)"),
    ("two phases that share their noise", "chip", "access_key(self.seed, number, access, *phase)",
     "access_key(self.seed, number, access)"),
    ("a group beside the diagonal", "graph", "codes[(first + g) * each : (first + g + 1) * each]",
     "codes[first * each : (first + 1) * each]"),
    ("a stride that is ignored", "crossbar", "np.arange(out_w) * spec.stride[1]",
     "np.arange(out_w)"),
    ("a negative phase that is lost", "graph", "total = total - products(-values, 1)", "pass"),
    ("a batch that changes the noise", "chip", "keys = image_keys(images)",
     "keys = np.arange(len(images), dtype=np.uint64)"),
    ("variation of half the spread", "devices", "spread = self.sigma * cells.level_max\n",
     "spread = self.sigma * cells.level_max / 2\n"),
    ("stuck cells of the other kind", "devices", "draw < self.on_rate", "draw < self.off_rate"),
    ("drift in the wrong direction", "devices", "** -np.maximum(nu, 0)", "** np.maximum(nu, 0)"),
    ("a pedestal off by one level", "devices", "return level_max / (self.on_off_ratio - 1)",
     "return level_max / self.on_off_ratio"),
    ("INL of twice the size", "converters", "return inl * course", "return 2 * inl * course"),
    ("a gain error of the wrong sign", "converters", "curve / (1 + nonlinearity.gain_error)",
     "curve * (1 + nonlinearity.gain_error)"),
    ("activations of one code too many", "quantizers", "return 2**self.activation_bits - 1",
     "return 2**self.activation_bits"),
    ("a bias that is forgotten", "network", "layer.bias / next_scale",
     "0 * layer.bias / next_scale"),
    ("truncation between the layers", "network", "codes = np.rint(np.clip(pooled",
     "codes = np.floor(np.clip(pooled"),
    ("a skipped polarity in the bound", "sparsity", "access.column_levels[None, :] *",
     "access.column_levels[None, :] // 2 *"),
    ("a miscounted conversion", "sparsity", "range(adc_bits + 1):\n            counts[:, :, b]",
     "range(adc_bits):\n            counts[:, :, b]"),
    ("a bit too few", "sparsity", "np.ceil(np.log2(largest + 1))",
     "np.floor(np.log2(largest + 1))"),
    ("a swapped unit", "energy", "table.read_time * 1e12", "table.read_time * 1e9"),
    ("detection for nothing", "energy", 'total["detection"] += columns * table.comparator', "pass"),
    ("a saving over the wrong total", "energy", '/ before["adc"]', '/ sum(before.values())'),
    ("a calibration that meets few pixels", "graph", "values = values[chosen.to(values.device)]",
     "values = values[:: len(values) // FITTED_VALUES]"),
    ("a drift fitted on a linear scale", "measured", 'age = np.log(rows["time_s"] / start)',
     'age = rows["time_s"] / start'),
    ("a worker that is not compared", "artifact/cluster", "if found.get(name) != value:",
     "if not found:"),
    ("a limit at the wrong crossing", "artifact/studies/requirements",
     "share = (delta - mean[beyond - 1])", "share = (mean[beyond] - delta)"),
    ("a verdict without a tolerance", "artifact/claims", '<= entry["tolerance"]', '<= 1'),
)  # fmt: skip
#: What is tried in turn: engine, artifact, notebooks.
SELECTIONS = (
    ["tests", *(f"--ignore=tests/test_{part}.py"
                for part in ("report", "artifact", "record", "robustness", "cluster"))],
    ["tests/test_cluster.py", "tests/test_artifact.py", "tests/test_robustness.py",
     "tests/test_record.py", "-k", "not deliberate_faults"],
    ["--nbval-lax", "notebooks"],
)  # fmt: skip
LEFT_OUT = shutil.ignore_patterns(".venv", "build", ".git", "__pycache__", ".*_cache", "figures")


def source(module: str) -> Path:
    """File of a module; those of the simulator are named without their folder."""
    return Path(f"{module}.py" if "/" in module else f"nvlib/{module}.py")


def first_failure(fault: tuple[str, str, str, str]) -> dict[str, str]:
    """Name of the first test that fails with a fault in place; empty if none does."""
    what, module, sound, faulty = fault
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "artifact"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        (copy / "figures").symlink_to(ROOT / "figures")
        path = copy / source(module)
        text = path.read_text(encoding="utf-8")
        if sound not in text:
            raise ValueError(f"{what}: expected {sound!r} in {module}.py, found none; mend FAULTS")
        path.write_text(text.replace(sound, faulty), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        for selection in SELECTIONS:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *selection],
                cwd=copy, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
            if failed or done.returncode not in (0, 5):
                return {"fault": what, "module": module,
                        "caught by": failed[1] if failed else "the import"}  # fmt: skip
    return {"fault": what, "module": module, "caught by": ""}


def main() -> int:
    """Try every fault; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    work = (delayed(first_failure)(fault) for fault in FAULTS)
    results = Parallel(n_jobs=options.jobs, return_as="generator")(work)
    table = pd.DataFrame(tqdm(results, total=len(FAULTS), unit="fault"))
    (ROOT / "results" / "faults.csv").write_text(table.to_csv(index=False), encoding="utf-8")
    caught = (table["caught by"] != "").mean()
    print(table.to_string(index=False), f"\n{len(table)} faults, {caught:.0%} caught")
    return 0 if caught >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
