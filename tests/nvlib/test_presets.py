"""Shipped devices are what their sources say, and read like the user's own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from examples.presets import G_MAX_US, LOWEST, SOURCES, preset_table, spread_us
from nvlib import ArrayMapping, Chip, Hardware, phase_change, preset, read_device
from nvlib.presets import pcm_moments

#: Copied from the sources' tables by hand: (share of the highest conductance, spread in uS).
KNOWN = {"PCM": [(0.5, 0.952725), (1.0, 1.0554)], "RRAM": [(0.0, 0.348), (1.0, 1.103)],
         "SONOS": [(0.5, 0.1967), (1.0, 0.1988)]}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_preset_has_the_published_moments(name):
    assert preset(name).read_text() == preset_table(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device, table = read_device(preset(name))
    g = np.linspace(LOWEST[name], 1, 4)
    np.testing.assert_allclose(device.means_s, g * G_MAX_US[name] * 1e-6, rtol=1e-4)
    np.testing.assert_allclose(device.sigmas_s, spread_us(name, g) * 1e-6, rtol=1e-3)
    assert device.cell_bits == 2
    assert not device.quantiles_s
    assert (table["conductance_s"] > 0).all()
    for share, spread in KNOWN[name]:
        assert float(spread_us(name, np.array(share))) == pytest.approx(spread, rel=1e-3)
    model = device.model()
    assert model.on_conductance_s == pytest.approx(G_MAX_US[name] * 1e-6, rel=1e-4)
    assert 9.9 < model.on_off_ratio < 100.1


def test_the_phase_change_table_drifts_as_its_formulas():
    device, _ = read_device(preset("PCM"))
    drift = device.model(86400.0).effects[-1]
    formula = phase_change(2, 86400.0).effects[-1]
    np.testing.assert_allclose(drift.nu, formula.nu, atol=2e-5)
    np.testing.assert_allclose(drift.nu_sigma, formula.nu_sigma, atol=2e-4)
    assert formula.nu[0] > formula.nu[-1] == 0.049
    with pytest.raises(ValueError, match="seconds: expected none without measured drift"):
        read_device(preset("SONOS"))[0].model(100.0)
    with pytest.raises(ValueError, match="name: expected one of PCM, RRAM, SONOS"):
        preset("FeFET")


def test_one_over_f_noise_is_that_of_the_source():
    noise = phase_change(1, 1000.0).slow_noise.sigma
    held = (1000 / 20) ** -0.049
    wanted = held * 0.0088 * np.sqrt(np.log(1000.00000025 / 5e-7)) / 0.96
    assert noise[1] == pytest.approx(wanted, rel=1e-6)
    assert pcm_moments(np.array(1e-6))[3] == 0.2  # the source's largest
    with pytest.raises(ValueError, match="seconds: expected a finite number from 20 to"):
        phase_change(seconds=1.0)


def test_compensation_gives_back_most_of_what_drift_took(network, digits):
    images, labels = digits.test_images[:150], digits.test_labels[:150]
    devices = phase_change(1, 3.0e7)  # a year

    def accuracy(compensated):
        hardware = Hardware(ArrayMapping(), devices, compensated=compensated)
        return (Chip(network("W4A3"), hardware).predict(images) == labels).mean()

    assert accuracy(True) > accuracy(False) + 0.05
    assert accuracy(True) > 0.9
