"""The network's size to the last digit, what it refuses, and its file."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kinema.errors import UserError
from kinema.nn.counting import count_multiply_adds, count_parameters
from kinema.nn.mobile import Add, ConvNorm
from kinema.systems.photo_3d.depth_model import PRESETS, Tiefenrausch, TiefenrauschConfig, fold_norms
from kinema.systems.photo_3d.depth_weights import load_depth, save_depth
from kinema.systems.photo_3d.quantised import (
    ActivationQuantiser,
    WeightQuantiser,
    add_quantisers,
    calibrate,
    quantisers,
    rounded,
    scale_and_zero,
    set_mode,
)

TINY = TiefenrauschConfig(first=8, encoder=(8,) * 5, skip=(8,) * 6, expansion=(1, 1, 2, 2, 2, 2), repeats=2)


@pytest.fixture
def tiny() -> Tiefenrausch:
    torch.manual_seed(0)
    network = Tiefenrausch(TINY)
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            tensor.add_(0.2 * torch.rand(tensor.shape))
    return network.eval()


def test_the_published_size_to_the_last_digit():
    with torch.device("meta"):
        network = Tiefenrausch(dataclasses.replace(TiefenrauschConfig(), norm="bias"))
        x = torch.empty(1, 3, 288, 384)
        weights = sum(p.numel() for p in network.parameters() if p.ndim == 4)
        assert (weights, count_parameters(network) - weights) == (3_508_424, 22_744)
        assert count_multiply_adds(network, x) == 6_831_333_504
        assert network(x).shape == (1, 1, 288, 384)
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules()) == 146
        trained = count_parameters(Tiefenrausch())
    assert trained == 3_508_424 + 45_488


def test_nano_is_small_enough_to_travel():
    with torch.device("meta"):
        network = Tiefenrausch(dataclasses.replace(PRESETS["nano"], norm="bias"))
    assert count_parameters(network) == 687_064
    assert 2 * count_parameters(network) < 1_500_000  # bytes in float16


def test_scaled_widths_are_multiples_of_eight():
    half = TiefenrauschConfig().scaled(0.5)
    assert (half.first, half.encoder, half.skip) == (24, (24, 32, 40, 32, 48), (16, 8, 32, 48, 48, 48))
    with torch.device("meta"):
        assert Tiefenrausch(half)(torch.empty(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_it_begins_at_disparity_one_and_learns(tiny):
    torch.manual_seed(1)
    fresh = Tiefenrausch(TINY)
    out = fresh(torch.rand(2, 3, 32, 64))
    assert out.abs().max() < 0.5
    out.square().sum().backward()
    assert all(p.grad is not None for p in fresh.parameters())


def test_a_batch_of_two_equals_two_batches(tiny):
    x = torch.rand(2, 3, 32, 64)
    torch.testing.assert_close(tiny(x), torch.cat([tiny(x[:1]), tiny(x[1:])]), atol=1e-5, rtol=1e-5)


def test_folded_norms_compute_the_same(tiny):
    x = torch.rand(1, 3, 64, 32)
    plain = fold_norms(tiny)
    assert plain.config.norm == "bias"
    torch.testing.assert_close(plain(x), tiny(x), atol=1e-4, rtol=1e-4)
    assert torch.equal(plain.disparity(x), plain(x).exp())


def test_sizes_and_settings_that_cannot_be():
    with pytest.raises(ValueError, match="multiples of 32"):
        Tiefenrausch(TINY)(torch.zeros(1, 3, 32, 48))
    with pytest.raises(UserError, match="5 whole numbers"):
        TiefenrauschConfig(encoder=(8, 8))
    with pytest.raises(UserError, match=r"no preset 'naon'.*nano"):
        TiefenrauschConfig.preset("naon")
    assert TiefenrauschConfig.from_dict(TINY.to_dict()) == TINY


# -- eight bits -------------------------------------------------------------------------------------------


def test_rounding_stays_within_half_a_step_and_passes_the_gradient_inside_the_range():
    scale, zero = scale_and_zero(torch.tensor(-1.0), torch.tensor(3.0))
    assert float(zero) == round(255 / 4)
    x = torch.linspace(-2, 4, 601, requires_grad=True)
    y = rounded(x, scale, zero)
    low, high = float(-zero * scale), float((255 - zero) * scale)
    inside = (x > low) & (x < high)
    assert ((y - x)[inside].abs() <= scale / 2 + 1e-6).all()
    assert float(y.min()) == pytest.approx(low)
    assert float(y.max()) == pytest.approx(high)
    with torch.no_grad():  # the way without gradients gives the same
        assert torch.equal(rounded(x, scale, zero), y)
    torch.testing.assert_close(y.detach() / scale, (y.detach() / scale).round())
    y.sum().backward()
    assert torch.equal(x.grad > 0, (x >= low) & (x <= high))
    assert rounded(torch.zeros(1), scale, zero) == 0  # zero is one of the values


def test_rounding_weights_twice_is_rounding_them_once():
    weight = torch.randn(8, 4, 3, 3)
    once = WeightQuantiser()(weight)
    torch.testing.assert_close(WeightQuantiser()(once), once, atol=1e-6, rtol=0)
    assert once.unique().numel() <= 256


def test_a_range_follows_a_moving_average_and_holds_still_afterwards():
    quantiser = ActivationQuantiser(momentum=0.5)
    quantiser.mode = "learn"
    quantiser(torch.tensor([-1.0, 2.0]))
    quantiser(torch.tensor([-3.0, 4.0]))
    assert (float(quantiser.low), float(quantiser.high)) == (-2.0, 3.0)
    quantiser.eval()
    quantiser(torch.tensor([-30.0, 40.0]))
    quantiser.train().mode = "round"
    assert float(quantiser(torch.tensor([-30.0, 40.0])).max()) == pytest.approx(3.0, abs=0.02)
    assert float(quantiser.low) == -2.0


def test_clamping_is_rounding_without_steps():
    quantiser = ActivationQuantiser()
    quantiser.set(0.1, 100)
    x = torch.linspace(-20, 20, 101)
    quantiser.mode = "clamp"
    clamped = quantiser(x)
    torch.testing.assert_close(clamped, x.clamp(-10, 15.5))
    quantiser.mode = "round"
    assert (quantiser(x) - clamped).abs().max() <= 0.05 + 1e-6


def test_calibrated_eight_bits_stay_close(tiny):
    plain = fold_norms(tiny)
    torch.manual_seed(2)
    batches = [torch.rand(2, 3, 32, 32) for _ in range(2)]
    want = plain(batches[0])
    calibrate(plain, batches)
    slots = sum(isinstance(layer, ConvNorm | Add) for layer in plain.modules())
    assert len(list(quantisers(plain))) == 1 + slots == 126  # the input's, 98 convolutions', 27 additions'
    got = plain(batches[0])
    assert float((got - want).abs().max()) < 0.15 * float(want.max() - want.min())
    assert not torch.equal(got, want)
    with pytest.raises(ValueError, match="fold the batch norms"):
        calibrate(Tiefenrausch(TINY), batches)


# -- the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_the_file_reads_back(tiny, tmp_path, storage):
    plain = fold_norms(tiny)
    if storage == "uint8":
        calibrate(plain, [torch.rand(1, 3, 32, 32)])
    save_depth(plain, tmp_path / "a.safetensors", storage, source="here")
    again, facts = load_depth(tmp_path / "a.safetensors")
    assert (facts, again.config) == ({"source": "here"}, plain.config)
    x = torch.rand(1, 3, 32, 64)
    near = {"float32": 0.0, "float16": 0.02, "uint8": 1e-4}[storage]
    assert float((again(x) - plain(x)).abs().max()) <= near * float(plain(x).abs().max())


def test_the_float_path_of_a_file_with_ranges_only_clamps(tiny, tmp_path):
    plain = fold_norms(tiny)
    calibrate(plain, [torch.rand(1, 3, 32, 32)])
    save_depth(plain, tmp_path / "a.safetensors", "uint8")
    clamping, _ = load_depth(tmp_path / "a.safetensors", "float")
    assert {layer.mode for layer in quantisers(clamping)} == {"clamp"}
    set_mode(plain, "clamp")
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(clamping(x), plain(x), atol=1e-4, rtol=1e-4)


def test_files_of_other_models_are_refused(tiny, tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not describe a depth network"):
        load_depth(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="fold the batch norms"):
        save_depth(tiny, tmp_path / "a.safetensors")
    plain = add_quantisers(fold_norms(tiny))
    save_depth(plain, tmp_path / "b.safetensors")
    assert load_depth(tmp_path / "b.safetensors")[0].input_quantiser is not None
