"""A report's rows add up to its last one."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import Chip, Precision, report
from tests.conftest import model_of


def test_the_report_adds_up(tmp_path):
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images, precision=Precision(4, 3))
    found = report(chip, images, torch.zeros(40))
    layers, whole = found.layers.iloc[:-1], found.layers.iloc[-1]
    assert layers["layer"].tolist() == ["stem", "one", "two", "short", "fc"]
    for name in ("arrays", "reads", "conversions", "energy_pj", "energy_share"):
        assert layers[name].sum() == pytest.approx(whole[name])
    assert layers["reads"].tolist() == [2 * 144 * 3, 36 * 3, 36 * 3, 36 * 3, 3]  # signed images
    assert whole["utilization"] == pytest.approx(
        sum(k * m * 6 for k, m in ((9, 6), (54, 8), (72, 8), (6, 8), (8, 10)))
        / (whole["arrays"] * 128 * 128)
    )
    # Converters are done before the arrays have settled to the next read.
    assert whole["reads"] * 0.1 < whole["latency_us"] < (whole["reads"] + 5) * 0.1
    assert layers["area_mm2"].sum() == pytest.approx(whole["area_mm2"])
    assert "accuracy" in str(found)
    found.save(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text().startswith("layer,matrix,precision,arrays")


def test_the_reported_accuracy_is_the_chips(network, digits):
    chip, images = Chip(network("W4A3")), digits.test_images[:100]
    found = report(chip, images, digits.test_labels[:100])
    assert found.accuracy == (chip.predict(images) == digits.test_labels[:100]).mean()
    assert found.interval[0] < found.accuracy <= found.interval[1]
    assert report(chip, images[:2]).accuracy is None


def test_groups_on_arrays_of_their_own_are_read_at_once():
    model, images = model_of("branches")
    found = report(Chip.from_torch(model, images), images[:5]).layers
    assert found["layer"].tolist() == ["wide", "depth", "last", "network"]
    assert found["reads"].tolist() == [110 * 8 * 2, 81 * 8, 16 * 8 * 2, 1760 + 648 + 256]
    assert found["arrays"].tolist()[1] == 12


def test_labels_and_images_that_do_not_fit_are_refused():
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images)
    with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
        report(chip, images, np.zeros(3))
    with pytest.raises(ValueError, match="images: expected at least one, received 0"):
        report(chip, images[:0])
    maps = Chip.from_torch(nn.Sequential(nn.Conv2d(1, 3, 3)), torch.rand(4, 1, 4, 4))
    assert report(maps, torch.rand(2, 1, 4, 4)).accuracy is None
    with pytest.raises(ValueError, match=r"network: .* received \(2, 3, 2, 2\); leave the labels"):
        report(maps, torch.rand(2, 1, 4, 4), [0, 1])


def test_a_layer_that_is_called_network_keeps_its_row():
    model = nn.Sequential(
        OrderedDict(network=nn.Linear(6, 4), relu=nn.ReLU(), last=nn.Linear(4, 2))
    )
    chip = Chip.from_torch(model, torch.rand(20, 6, generator=torch.Generator().manual_seed(0)))
    found = report(chip, torch.ones(3, 6)).layers
    assert found["matrix"].tolist() == ["6 x 4", "4 x 2", ""]
    assert found["arrays"].tolist() == [1, 1, 2]
