"""The windowed transformer against torchvision's and timm's with the same weights, and by identities."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from kinema.nn.drop_path import DropPath
from kinema.nn.swin3d import PatchEmbed3d, PatchMerging, Swin3d, SwinBlock3d
from kinema.nn.windows3d import clamped, offset_index, windows_of
from tests.parity import assert_parity, peer

CPU = torch.device("cpu")
TINY = {"dim": 8, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "window": (4, 3, 3)}

# torchvision's names of a block's and a merging's parts -> ours
PARTS = {
    "norm1": "attention_norm",
    "attn.relative_position_bias_table": "attention.offsets",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "norm2": "mlp_norm",
    "mlp.0": "mlp.up",
    "mlp.3": "mlp.down",
}


class Whole(nn.Module):
    """Embedding and trunk, as torchvision has them in one network."""

    def __init__(self, patch: tuple[int, int, int] = (2, 4, 4), **sizes: object) -> None:
        super().__init__()
        self.embed = PatchEmbed3d(3, sizes["dim"], patch)
        self.trunk = Swin3d(**sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(self.embed(x)).mean((1, 2, 3))


def stirred(network: nn.Module) -> nn.Module:
    """Weights away from where they start, and offsets large enough to matter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {}
    for key, value in state.items():
        if key.endswith("relative_position_index") or key.startswith("head."):
            continue
        if match := re.fullmatch(r"features\.(\d+)\.(\d+)\.(.*?)(\.weight|\.bias)?", key):
            stage, block, part, end = match.groups()
            key = f"trunk.stages.{int(stage) // 2}.blocks.{block}.{PARTS[part]}{end or ''}"
        elif match := re.fullmatch(r"features\.(\d+)\.(norm|reduction)\.(.*)", key):
            key = f"trunk.stages.{int(match[1]) // 2}.merge.{match[2]}.{match[3]}"
        else:
            key = key.replace("patch_embed", "embed") if key.startswith("patch") else f"trunk.{key}"
        ours[key] = value
    return ours


@pytest.fixture(scope="module")
def pair() -> tuple[Whole, nn.Module]:
    swin = peer("torchvision.models.video.swin_transformer")
    torch.manual_seed(0)
    theirs = swin.SwinTransformer3d(
        patch_size=[2, 4, 4], embed_dim=8, depths=[2, 2, 2], num_heads=[1, 2, 4], window_size=[4, 3, 3]
    )
    theirs.head = nn.Identity()
    stirred(theirs)
    ours = Whole(**TINY).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    return ours, theirs


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 15, 16])
@pytest.mark.parametrize("size", [(48, 48), (37, 50), (9, 70), (4, 4), (1, 1)])
def test_torchvision_at_every_length_and_at_odd_sizes(pair, frames, size):
    ours, theirs = pair
    x = torch.randn(2, 3, frames, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert_parity(ours(x), theirs(x))


def test_torchvision_in_training_gradients_of_weights_and_pixels(pair):
    ours, theirs = pair
    pixels = [torch.randn(1, 3, 9, 21, 30, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    for network, x in zip((ours, theirs), pixels, strict=True):
        network.zero_grad()
        network(x.requires_grad_()).square().sum().backward()
    assert_parity(pixels[0].grad, pixels[1].grad)
    want = from_torchvision({name: value.grad for name, value in theirs.named_parameters()})
    for name, value in ours.named_parameters():
        scale = float(want[name].abs().max())
        assert_parity(value.grad / scale, want[name] / scale)


def test_an_image_is_timms_flat_swin(pair):
    """One slice in time of the embedding's kernel, and the offsets of no time between query and key."""
    swin = peer("timm.models.swin_transformer")
    ours = stirred(Whole(dim=8, depths=(2, 2), num_heads=(2, 4), window=(4, 3, 3)))
    theirs = swin.SwinTransformer(
        img_size=48, patch_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=3, num_classes=0
    ).eval()
    names = {value: key for key, value in PARTS.items()} | {"mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"}
    state = {}
    for key, value in ours.state_dict().items():
        name = key.replace("embed.", "patch_embed.").replace("trunk.", "").replace("stages.", "layers.")
        for part, other in names.items():
            name = name.replace(f".{part}", f".{other}")
        # timm merges before a stage, where we do it behind one
        name = name.replace("layers.0.merge", "layers.1.downsample")
        if key.endswith("offsets"):
            value = value.view(7, 25, -1)[3]
        if key == "embed.proj.weight":
            value = value[:, :, 0]
        state[name] = value
    missing = theirs.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all("relative_position_index" in key or "attn_mask" in key for key in missing.missing_keys)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert_parity(ours(x[:, :, None]), theirs(x))


def test_a_frame_of_zeros_behind_an_image_changes_nothing():
    embed = stirred(PatchEmbed3d(3, 8))
    image = torch.randn(1, 3, 1, 10, 9)
    longer = torch.cat([image, torch.zeros_like(image)], 2)
    torch.testing.assert_close(embed(image), embed(longer))
    embed(image).sum().backward()
    assert embed.proj.weight.grad[:, :, 0].any()
    assert not embed.proj.weight.grad[:, :, 1].any()


# -- windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "window", "shift"),
    [((8, 6, 9), (4, 3, 3), (2, 1, 1)), ((5, 7, 7), (2, 3, 3), (1, 1, 1)), ((1, 7, 8), (1, 7, 4), (0, 0, 2))],
)
def test_tokens_come_back_to_their_places(grid, window, shift):
    cut = windows_of(grid, window, shift, CPU)
    tokens = window[0] * window[1] * window[2]
    assert len(cut.order) == sum(number for number, _ in cut.groups) * tokens
    assert sorted(cut.order.tolist()) == list(range(len(cut.order)))
    full = tuple(size + more for size, more in zip(grid, cut.padding, strict=True))
    places = torch.arange(len(cut.order)).view(full)[: grid[0], : grid[1], : grid[2]].flatten()
    assert torch.equal(cut.order[cut.back], places)


def test_only_neighbours_in_space_and_time_see_each_other_in_moved_windows():
    grid, window, shift = (4, 6, 6), (2, 3, 3), (1, 1, 1)
    cut = windows_of(grid, window, shift, CPU)
    places = torch.cartesian_prod(*[torch.arange(size) for size in grid])[cut.order].view(-1, 18, 3)
    masks = [
        torch.zeros(18, 18) if mask is None else mask for number, mask in cut.groups for _ in range(number)
    ]
    assert len(masks) == len(places) == 8
    for mask, place in zip(masks, places, strict=True):
        apart = (place[:, None] - place).abs()
        near = (apart < torch.tensor(window)).all(-1)
        assert torch.equal(mask == 0, near)


def test_an_axis_within_the_window_is_one_window_without_a_shift():
    assert clamped((1, 7, 8), (8, 7, 7), (4, 3, 3)) == ((1, 7, 7), (0, 0, 3))
    assert clamped((8, 3, 99), (8, 7, 7), (4, 3, 3)) == ((8, 3, 7), (0, 0, 3))


def test_offsets_index_the_table_by_distance():
    window = (2, 3, 4)
    index = offset_index(window, 24, CPU).view(24, 24)
    assert index.min() == 0
    assert index.max() == 3 * 5 * 7 - 1
    assert len(set(index.flatten().tolist())) == 3 * 5 * 7
    assert torch.equal(index.diagonal(), torch.full((24,), 52))  # no distance is the middle row
    assert index[0, 1] == 51  # the key one column to the right
    assert torch.equal(offset_index(window, 6, CPU).view(6, 6), index[:6, :6])


def test_merging_takes_upper_left_lower_left_upper_right_lower_right():
    merge = PatchMerging(1)
    merge.norm = nn.Identity()
    merge.reduction = nn.Identity()
    x = torch.arange(6.0).view(1, 1, 2, 3, 1)
    assert merge(x)[0, 0, 0].tolist() == [[0, 3, 1, 4], [2, 5, 0, 0]]  # zeros beside an odd column


# -- the network ------------------------------------------------------------------------------------------


def test_a_batch_of_two_equals_two_batches():
    block = stirred(SwinBlock3d(8, 2, (2, 3, 3), (1, 1, 1), 4.0, 0.0))
    x = torch.randn(2, 5, 7, 8, 8)
    torch.testing.assert_close(block(x), torch.cat([block(x[:1]), block(x[1:])]))


def test_stage_outputs_end_where_forward_does():
    trunk = stirred(Swin3d(**TINY))
    x = torch.randn(1, 2, 12, 12, 8)
    outputs = trunk.stage_outputs(x)
    assert [tuple(y.shape[1:]) for y in outputs] == [(2, 6, 6, 16), (2, 3, 3, 32), (2, 3, 3, 32)]
    assert torch.equal(trunk.norm(outputs[-1]), trunk(x))


def test_tables_made_in_inference_serve_training_and_the_meta_device():
    with torch.inference_mode():
        trunk = Swin3d(dim=4, depths=(2,), num_heads=(1,), window=(3, 5, 5))
        trunk(torch.randn(1, 4, 11, 13, 4))
    trunk = Swin3d(dim=4, depths=(2,), num_heads=(1,), window=(3, 5, 5))
    trunk(torch.randn(1, 4, 11, 13, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())
    with torch.device("meta"):
        trunk = Swin3d(dim=4, depths=(2,), num_heads=(1,), window=(3, 5, 5))
        assert trunk(torch.randn(1, 4, 11, 13, 4)).shape == (1, 4, 11, 13, 4)


def test_init_sets_every_weight():
    trunk = Swin3d(**TINY)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.fill_(torch.nan)
    trunk.init_weights()
    assert all(bool(parameter.isfinite().all()) for parameter in trunk.parameters())
    assert float(trunk.stages[0].blocks[0].attention.offsets.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_stochastic_depth_grows_with_the_depth_and_rests_in_eval():
    trunk = Swin3d(**TINY, drop_path=0.5)
    rates = [layer.rate for layer in trunk.modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2)
    out = drop(x)
    assert ((out == 0) | torch.isclose(out, torch.tensor(4 / 3))).all()
    assert torch.equal(out[:, 0], out[:, 1])
    assert float(out.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
    with pytest.raises(ValueError, match="below 1"):
        DropPath(1.0)


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide the width 8"):
        Swin3d(dim=8, depths=(1,), num_heads=(3,), window=(1, 2, 2))
