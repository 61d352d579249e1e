"""Every path of the artifact, once, and what its processes tell each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
CHECKPOINTS = ROOT / "checkpoints"
EXAMPLES = ROOT / "examples"
EXPECTED = ROOT / "expected"
#: What was recorded; see `artifact.record`.
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
#: What runs make; nothing in it is committed.
BUILD = ROOT / "build"
POINTS = BUILD / "points"
REPORT = BUILD / "report"
#: Environment variable: "line" where a study tells of itself by one line in place of a bar.
PROGRESS = "NVLIB_PROGRESS"
