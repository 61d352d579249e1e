"""Codes, scales and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nvlib import Precision
from nvlib.quantizers import (
    BLOCK,
    fake_quantize_activation,
    fake_quantize_weight,
    fit_scale,
    to_codes,
    weight_codes,
)

values = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20)


@given(values, st.floats(0.01, 5), st.integers(1, 8))
def test_codes_stay_in_range_and_are_the_nearest(numbers, scale, bits):
    x, s = torch.tensor(numbers), torch.tensor(scale)
    codes = weight_codes(x, s, bits)
    limit = max(2 ** (bits - 1) - 1, 1)
    assert codes.abs().max() <= limit
    assert (codes == codes.round()).all()
    if bits > 1:
        inside = (x / s).abs() <= limit
        assert ((codes * s - x).abs()[inside] <= s / 2 * 1.001).all()
    else:
        assert set(codes.tolist()) <= {-1.0, 1.0}
    active = to_codes(x, s, 0, 2**bits - 1)
    assert active.min() >= 0
    assert active.max() <= 2**bits - 1
    assert (active[x <= 0] == 0).all()
    assert torch.equal(active * s, fake_quantize_activation(x, s, bits))
    assert torch.equal(codes * s, fake_quantize_weight(x, s, bits))


def test_largest_codes_by_hand():
    most = [(Precision(b, b).weight_max, Precision(b, b).activation_max) for b in (1, 2, 3, 8)]
    assert most == [(1, 1), (1, 3), (3, 7), (127, 255)]


def test_straight_through_gradients_by_hand():
    x = torch.tensor([-3.0, 0.26, 0.6, 9.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize_weight(x, scale, 3).sum().backward()  # codes -3, 1, 1, 3
    assert x.grad.tolist() == [0, 1, 1, 0]
    assert scale.grad.item() == pytest.approx(-3 + (1 - 0.52) + (1 - 1.2) + 3)


def test_gradients_of_a_scale_come_from_its_own_channel():
    weight = torch.tensor([[-3.0, 0.26], [0.6, 9.0]])
    together = torch.tensor([[0.5], [0.25]], requires_grad=True)
    fake_quantize_weight(weight, together, 3).square().sum().backward()
    for row, scale, found in zip(weight, (0.5, 0.25), together.grad, strict=True):
        alone = torch.tensor(scale, requires_grad=True)
        fake_quantize_weight(row, alone, 3).square().sum().backward()
        assert found.item() == alone.grad.item()


def test_signed_activations_have_codes_of_both_signs_and_their_gradients():
    x = torch.tensor([-9.0, -0.3, 0.3, 9.0], requires_grad=True)
    codes = fake_quantize_activation(x, torch.tensor(0.5), 2, signed=True)
    codes.sum().backward()
    assert codes.tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_halves_round_to_even_and_zero_stays_zero():
    assert to_codes(torch.tensor([0.5, 1.5, 2.5, 0.0]), 1.0, 0, 7).tolist() == [0, 2, 2, 0]


@given(values, st.integers(1, 7))
def test_no_scale_of_the_search_fits_better(numbers, most):
    x = torch.tensor(numbers).abs() + 0.01
    scale = fit_scale(x, 0, most)

    def error(s):
        return float((to_codes(x, s, 0, most) * s - x).square().mean())

    assert all(error(scale) <= error(x.max() / most * k / 100) + 1e-6 for k in range(2, 101))


def test_rows_have_the_scales_that_they_would_have_alone_and_zeros_a_positive_one():
    rows = torch.randn(3, 2 * BLOCK, generator=torch.Generator().manual_seed(0))
    rows *= torch.tensor([[1.0], [0.01], [0.0]])
    found = fit_scale(rows, -7, 7)
    for row, scale in zip(rows, found, strict=True):
        torch.testing.assert_close(fit_scale(row, -7, 7), scale, rtol=0, atol=0)
    assert found[0] > 50 * found[1] > 0
    assert found[2] > 0


@pytest.mark.parametrize(("w", "a"), [(0, 3), (9, 3), (4, 0), (4, 9), (4.0, 3), (True, 3)])
def test_precision_out_of_range_is_refused(w, a):
    with pytest.raises(ValueError, match="expected an integer from 1 to 8"):
        Precision(w, a)
    with pytest.raises(ValueError, match="precision: expected a name such as 'W4A3'"):
        Precision.parse("4/3")
