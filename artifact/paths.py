"""Every path of the artifact, once."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
CHECKPOINTS = ROOT / "checkpoints"
EXAMPLES = ROOT / "examples"
EXPECTED = ROOT / "expected"
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
BUILD = ROOT / "build"
POINTS = BUILD / "points"
