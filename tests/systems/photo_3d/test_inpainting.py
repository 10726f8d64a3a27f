"""Farbrausch and diffusion: the same network on pictures and along links, and nothing crosses from the foreground."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from kinema.errors import UserError
from kinema.systems.photo_3d.diffusion import diffused
from kinema.systems.photo_3d.inpainting import (
    Farbrausch,
    FarbrauschConfig,
    fill,
    load_inpainting,
    save_inpainting,
)
from kinema.systems.photo_3d.layered import LayeredImage, single_layer
from kinema.systems.photo_3d.lifting import LiftSettings, lift
from kinema.systems.photo_3d.partial_conv import PartialConv, pyramid, windows

SMALL = FarbrauschConfig(widths=(6, 8, 8), kernels=(5, 3, 3))


def network_of(config: FarbrauschConfig = SMALL, seed: int = 0) -> Farbrausch:
    """A network with nothing at its start: norms with statistics, biases that are not zero."""
    torch.manual_seed(seed)
    network = Farbrausch(config)
    for name, tensor in network.state_dict().items():
        if "running_var" in name or name.endswith("norm.weight"):
            tensor.uniform_(0.5, 1.5)
        elif "running_mean" in name or name.endswith("bias"):
            tensor.normal_(std=0.2)
    return network.eval()


def sheet(
    height: int, width: int, holes: float = 0.3, seed: int = 0
) -> tuple[LayeredImage, torch.Tensor, torch.Tensor]:
    """A fully linked picture with holes, as a layered image and as tensors (1, 3, H, W) and (1, 1, H, W)."""
    rng = np.random.default_rng(seed)
    image = single_layer(
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8), np.full((height, width), 0.5, np.float32)
    )
    known = rng.uniform(size=height * width) >= holes
    known[: height * width // 3] &= rng.uniform(size=height * width // 3) < 0.02  # whole windows of nothing
    image = dataclasses.replace(image, known=known)
    pixels = torch.from_numpy(image.colour * 2 - 1).T.reshape(1, 3, height, width)
    return image, pixels, torch.from_numpy(known).float().view(1, 1, height, width)


def two_layers(photo: np.ndarray | None = None) -> LayeredImage:
    """A near square before a plane that is grown right through behind it."""
    if photo is None:
        photo = np.random.default_rng(3).integers(0, 256, (40, 44, 3), dtype=np.uint8)
    return lift(photo, np.where(inside(), np.float32(0.9), np.float32(0.2)), LiftSettings(sharpen_passes=0))


def inside() -> np.ndarray:
    y, x = np.indices((40, 44))
    return (y >= 11) & (y < 30) & (x >= 13) & (x < 31)


@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width"),
    [(3, 1, 7, 9), (5, 1, 6, 5), (3, 2, 7, 9), (5, 2, 9, 8), (3, 2, 1, 6)],
)
def test_partial_convolution_on_one_sheet_is_that_of_pictures(kernel, stride, height, width):
    torch.manual_seed(0)
    conv = PartialConv(5, 4, kernel, stride)
    torch.nn.init.normal_(conv.bias)
    image, _, first = sheet(height, width)
    second = (torch.rand(1, 1, height, width) > 0.5).float()
    x, y = torch.randn(1, 3, height, width), torch.randn(1, 2, height, width)
    expected, seen = conv([(x, first), (y, second)])
    levels = pyramid(image.x, image.y, image.neighbours, 1)
    rows = levels[0].kept if stride == 2 else np.arange(len(image))
    flat = [(a[0].flatten(1).T, mask.flatten()) for a, mask in ((x, first), (y, second))]
    got, got_seen = conv.along_links(flat, torch.from_numpy(windows(image.neighbours, rows, kernel)))
    assert got.shape[0] == expected[0, 0].numel()
    torch.testing.assert_close(got, expected[0].flatten(1).T, atol=1e-5, rtol=1e-5)
    assert torch.equal(got_seen, seen.flatten())


def test_partial_convolution_weighs_up_what_is_known():
    conv = PartialConv(1, 1, 3)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.constant_(conv.bias, 0.5)
    picture = torch.full((1, 1, 7, 7), 2.0)
    known = torch.zeros(1, 1, 7, 7)
    known[..., 3, 3] = 1
    result, seen = conv([(picture, known)])
    assert seen.sum() == 9
    torch.testing.assert_close(result, (2.0 * 9 + 0.5) * seen)
    whole, _ = conv([(picture, torch.ones_like(known))])
    torch.testing.assert_close(whole, torch.full_like(whole, 18.5))  # at the border as well


def test_partial_convolution_is_that_of_formula():
    """Against Liu et al.'s formula, window by window."""
    torch.manual_seed(1)
    conv = PartialConv(2, 3, 3)
    torch.nn.init.normal_(conv.bias)
    x, known = torch.randn(1, 2, 5, 6), (torch.rand(1, 1, 5, 6) > 0.6).float()
    result, seen = conv([(x, known)])
    padded, there = torch.nn.functional.pad(x, (1,) * 4), torch.nn.functional.pad(known, (1,) * 4)
    for v, u in np.ndindex(5, 6):
        window, mask = padded[0, :, v : v + 3, u : u + 3], there[0, :, v : v + 3, u : u + 3]
        if mask.sum() == 0:
            assert not result[0, :, v, u].any()
            assert not seen[0, 0, v, u]
        else:
            y = (conv.weight * window * mask).sum((1, 2, 3)) * 9 / mask.sum() + conv.bias
            torch.testing.assert_close(result[0, :, v, u], y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(21, 30), (16, 8), (9, 1)])
def test_the_whole_network_on_one_sheet_is_that_of_pictures(height, width):
    network = network_of()
    image, pixels, known = sheet(height, width)
    with torch.no_grad():
        expected = network(known, pixels, torch.ones_like(known))[0].flatten(1).T
    levels = pyramid(image.x, image.y, image.neighbours, len(SMALL.widths))
    flat = pixels[0].flatten(1).T.contiguous()
    everything = network.along_links(known.flatten(), flat, levels, np.arange(len(image)))
    assert not torch.allclose(everything, flat)
    torch.testing.assert_close(everything, expected, atol=1e-5, rtol=1e-5)
    wanted = np.arange(3, len(image), 5)
    some = network.along_links(known.flatten(), flat, levels, wanted)
    torch.testing.assert_close(some, expected[wanted], atol=1e-5, rtol=1e-5)


def test_the_published_size():
    network = Farbrausch()
    count = sum(p.numel() for p in network.parameters())
    assert 230_000 < count < 320_000
    network.eval()
    image, pixels, known = sheet(33, 40)
    with torch.no_grad():
        expected = network(known, pixels, torch.ones_like(known))[0].flatten(1).T
    levels = pyramid(image.x, image.y, image.neighbours, 5)
    flat = pixels[0].flatten(1).T.contiguous()
    got = network.along_links(known.flatten(), flat, levels, np.arange(len(image)))
    torch.testing.assert_close(got, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-5)


def test_the_foreground_has_no_influence_on_the_hidden_layer():
    network = network_of()
    photo = np.random.default_rng(3).integers(0, 256, (40, 44, 3), dtype=np.uint8)
    other = np.where(inside()[..., None], 255 - photo, photo)
    for method in ("network", "diffusion"):
        filled = [fill(two_layers(p), method, network) for p in (photo, other)]
        hidden = ~filled[0].known
        assert hidden.sum() == inside().sum()
        assert np.array_equal(filled[0].colour[hidden], filled[1].colour[hidden])
        assert filled[0].colour[hidden].std() > 0
    wanted = np.flatnonzero(hidden)
    outputs = []
    for picture in (photo, other):  # and not for want of looking: with the whole image before the network
        image = two_layers(picture)
        levels = pyramid(image.x, image.y, image.neighbours, len(SMALL.widths))
        given = torch.from_numpy(image.known).float()
        outputs.append(network.along_links(given, torch.from_numpy(image.colour), levels, wanted))
    assert torch.equal(*outputs)
    behind = np.where(inside()[..., None], photo, 255 - photo)
    changed = fill(two_layers(behind), "network", network).colour[hidden]
    assert np.abs(changed - filled[0].colour[hidden]).max() > 0.01


@pytest.mark.parametrize("method", ["network", "diffusion"])
def test_the_rim_next_to_an_edge_gives_no_colour(method):
    photo = np.random.default_rng(3).integers(0, 256, (40, 44, 3), dtype=np.uint8)
    for reach in (1, 2, 3):
        wide = inside()
        for _ in range(reach):  # pixels within so many links of the square, in the plane around it
            grown = np.pad(wide, 1)
            wide = grown[1:-1, 1:-1] | grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
        rim = wide & ~inside()
        other = np.where(rim[..., None], 255 - photo, photo)
        one, two = (fill(two_layers(p), method, network_of(), rim=reach) for p in (photo, other))
        hidden = ~one.known
        assert np.array_equal(one.colour[hidden], two.colour[hidden])
        assert np.array_equal(two.colour[two.known], other.reshape(-1, 3).astype(np.float32) / 255)
        less = fill(two_layers(other), method, network_of(), rim=reach - 1)
        assert not np.array_equal(less.colour[hidden], two.colour[hidden])


def test_where_there_is_only_a_rim_it_gives_its_colour():
    photo = np.full((12, 44, 3), 200, np.uint8)
    photo[:, 2:42] = 20
    disparity = np.full((12, 44), 0.2, np.float32)
    disparity[:, 2:42] = 0.9  # two columns of background on either side
    image = lift(photo, disparity, LiftSettings(sharpen_passes=0, smallest_part=0, shortest_curve=0))
    assert (~image.known).any()
    filled = fill(image, "diffusion", rim=3)
    np.testing.assert_allclose(filled.colour[~image.known], 200 / 255, atol=0.01)


def test_what_is_known_stays_and_the_rest_is_filled():
    image = two_layers()
    filled = fill(image, "network", network_of())
    filled.check()
    assert np.array_equal(filled.colour[image.known], image.colour[image.known])
    assert np.array_equal(filled.known, image.known)
    assert (filled.colour[~image.known] != 0).any()
    assert not image.colour[~image.known].any()  # the given one is as it was


def test_context_that_covers_everything_changes_nothing_more():
    image, network = two_layers(), network_of()
    one, two = (fill(image, "network", network, context=reach).colour for reach in (60, 1000))
    assert np.array_equal(one, two)


def test_diffusion_solves_for_the_mean_of_neighbours():
    image, _, _ = sheet(20, 24, holes=0.0)
    ramp = np.stack([image.x / 23, image.y / 19, (image.x + image.y) / 42], 1).astype(np.float32)
    known = (image.x % 23 == 0) | (image.y % 19 == 0)
    filled = diffused(np.where(known[:, None], ramp, 0), known, image.neighbours, sweeps=300, tolerance=1e-6)
    np.testing.assert_allclose(filled, ramp, atol=2e-3)


def test_diffusion_without_anything_known_nearby():
    image, _, _ = sheet(4, 5, holes=0.0)
    alone = np.full((20, 4), -1, np.int32)
    known = np.arange(20) < 10
    filled = diffused(image.colour, known, alone)
    np.testing.assert_allclose(filled[10:], image.colour[:10].mean(0)[None].repeat(10, 0), atol=1e-6)
    assert np.array_equal(filled[:10], image.colour[:10])


def test_an_image_with_nothing_unknown_comes_back():
    image, _, _ = sheet(4, 5, holes=0.0)
    image = dataclasses.replace(image, known=np.ones(20, np.bool_))
    assert fill(image) is image


def test_weights_come_back(tmp_path):
    network = network_of()
    save_inpainting(network, tmp_path / "fill.safetensors")
    again = load_inpainting(tmp_path / "fill.safetensors")
    assert again.config == SMALL
    for one, two in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-3, rtol=2e-3)
    with pytest.raises(UserError, match="no weight file"):
        load_inpainting(tmp_path / "none.safetensors")


def test_bad_requests_are_refused():
    with pytest.raises(UserError, match="choose network or diffusion"):
        fill(two_layers(), "magic")
    with pytest.raises(ValueError, match="must be odd"):
        PartialConv(1, 1, 4)
    network = Farbrausch(SMALL)
    _, pixels, known = sheet(8, 8)
    with pytest.raises(ValueError, match="eval"):
        network.along_links(known.flatten(), pixels[0].flatten(1).T, [], np.arange(4))
