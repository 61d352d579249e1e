"""Samples of test images are as large as asked for, and unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from artifact.studies import sampling


def test_a_weighted_sample_estimates_the_mean_of_all_images():
    generator = np.random.default_rng(0)
    lost = (generator.random(2000) < 0.2 * np.exp(-np.arange(2000) / 200)).astype(float)
    order = np.arange(2000)  # in order of difficulty, as the losses are
    means = [
        sample.weights @ lost[sample.chosen]
        for sample in (sampling.draw(order, 100, np.random.default_rng(k)) for k in range(2000))
    ]
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(lost.mean(), abs=4 * error)
    assert np.std(means) < 0.75 * np.sqrt(lost.mean() / 100)  # what a plain sample would stray


def test_as_many_images_are_drawn_as_were_asked_for():
    for images in (6, 30, 60, 100):
        sample = sampling.draw(np.arange(100), images, np.random.default_rng(0))
        assert len(set(sample.chosen)) == images
        assert sample.weights.sum() == pytest.approx(1)
