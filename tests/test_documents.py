"""README, ARTIFACT and metadata say what is so."""

from __future__ import annotations

import json
import re
import sys

import torch
import yaml

from artifact import catalogue, publish, reproduce
from artifact.checkpoints import CheckpointName, load_float
from artifact.paths import NOTEBOOKS, ROOT


def test_no_path_of_this_machine_is_committed():
    text = "".join(path.read_text() for path in [*NOTEBOOKS.glob("*.ipynb"), ROOT / "README.md"])
    assert str(ROOT) not in text
    assert "/tmp/" not in text


def test_the_readmes_two_commands_are_the_scripts():
    text = (ROOT / "README.md").read_text()
    assert "./run_all.sh" in text
    assert "./run_tests.sh" in text
    assert "./run_tests.sh" in (ROOT / ".ci/run").read_text()
    assert sys.version_info >= (3, 11)


def test_the_readmes_code_runs(digits, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    images = torch.from_numpy(digits.test_images[:100, None].astype("float32") / 255)
    model = load_float(CheckpointName("embedded", "residual", None, 0))
    names = {"model": model, "training_images": images, "test_images": images,
             "test_labels": digits.test_labels[:100]}  # fmt: skip
    for block in blocks:
        exec(block, names)  # as a reader would paste it
    shown = capsys.readouterr().out
    assert "[0 1 2 3 4 5 6 7 8 9]" in shown
    assert "TOPS/W" in shown


def test_every_command_of_the_appendix_is_one_that_exists():
    text = (ROOT / "ARTIFACT.md").read_text()
    commands = re.findall(r"(?:^|`)(\./run_\w+\.sh|python [^\s`]+)([^`\n]*)", text, re.M)
    assert len(commands) >= 10
    for script, arguments in commands:
        assert (ROOT / script.removeprefix("python ")).is_file()
        if script == "./run_all.sh":
            reproduce.parse(arguments.split())  # ends with an error where an option is unknown
    names = {notebook.name for notebook in catalogue.CATALOGUE}
    assert set(re.findall(r"`(\d\d_\w+)`", text)) <= names
    assert publish.appendix_markdown() in text


def test_times_in_the_appendix_are_those_of_the_catalogue():
    text = (ROOT / "ARTIFACT.md").read_text()
    rows = re.findall(r"^\| `\./run_all\.sh([^`]*)` \| (\d+) ", text, re.M)
    times = []
    for arguments, minutes in rows:
        options = reproduce.parse(arguments.split())
        if not options.retrain:
            place = catalogue.PROFILES.index(options.profile)
            expected = sum(notebook.minutes[place] for notebook in catalogue.CATALOGUE
                           if not options.only or notebook.name in options.only)  # fmt: skip
            assert abs(int(minutes) - expected) <= 0.5 + 1e-9, arguments
            times.append(int(minutes))
    assert len(times) >= 10
    longest = re.search(r"Machine time \| (\d+) to (\d+) minutes by profile", text)
    assert int(longest[2]) == max(times)


def test_metadata_for_archives_agree():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert zenodo["license"] == citation["license"] == "MIT"
    assert "10.3389/felec.2022.954661" in json.dumps(zenodo)
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][-1]["run"] == "bash .ci/run"
