"""The vision transformer: timm's and torchvision's, its stems, its positions, and what the last block leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.codecs.keymap import rename
from kinema.codecs.vit_keys import HEAD, timm_rules, torchvision_rules
from kinema.nn import (
    ConvStem,
    DropPath,
    GridPositions,
    PatchStem,
    TubeStem,
    VisionTransformer,
    resize_positions,
    sinusoid_line,
    transformer_blocks,
)
from kinema.weights import load_strict
from tests.parity import assert_parity, peer
from tests.shaken import draw, shaken


def vit(
    stem: nn.Module | None = None, *, classes: int = 5, grid=(1, 4, 4), pool="class", **blocks
) -> VisionTransformer:
    stem = stem or PatchStem(48, 8)
    positions = GridPositions(48, grid, prefix=int(pool == "class"))
    return VisionTransformer(
        stem, positions, transformer_blocks(48, 2, 3, **blocks), pool=pool, num_classes=classes
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_it_equals_timm(pool: str) -> None:
    peer("timm")
    from timm.models.vision_transformer import VisionTransformer as Peer

    theirs = shaken(
        Peer(
            img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=5, dynamic_img_size=True,
            class_token=pool == "class", global_pool="token" if pool == "class" else "avg",
        )
    )  # fmt: skip
    ours = vit(pool=pool)
    load_strict(ours, rename(theirs.state_dict(), [*timm_rules(), HEAD], "timm").state, "timm")
    images = draw(2, 3, 32, 32)
    assert_parity(ours(images), theirs(images))
    if pool == "class":
        assert_parity(ours.encode(images), theirs.forward_features(images))
        larger = draw(2, 3, 48, 40, seed=1)
        assert_parity(ours(larger), theirs(larger))


@torch.no_grad()
@pytest.mark.parametrize("convolutional", [False, True])
def test_it_equals_torchvision(convolutional: bool) -> None:
    vision_transformer = peer("torchvision").models.vision_transformer
    widths, strides = (6, 12, 12, 24), (2, 2, 1, 2)
    stem = [vision_transformer.ConvStemConfig(w, 3, s) for w, s in zip(widths, strides, strict=True)]
    theirs = shaken(
        vision_transformer.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=5,
            conv_stem_configs=stem if convolutional else None,
        )
    )  # fmt: skip
    ours = vit(ConvStem(48, widths, strides) if convolutional else None, mlp_dim=96)
    load_strict(ours, rename(theirs.state_dict(), torchvision_rules(), "torchvision").state, "torchvision")
    images = draw(2, 3, 32, 32)
    assert_parity(ours(images), theirs(images))


def test_the_last_block_computes_what_the_class_token_needs() -> None:
    network = shaken(vit())
    images = draw(2, 3, 32, 32)
    sizes: list[int] = []
    network.blocks[-1].mlp.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[1]))
    short, full = network.features(images), network.encode(images)[:, 0]
    assert sizes == [1, 17]
    torch.testing.assert_close(short, full, atol=1e-5, rtol=1e-5)
    weight, parameters = draw(*full.shape, seed=1), list(network.blocks.parameters())
    grads = [torch.autograd.grad((out * weight).sum(), parameters) for out in (short, full)]
    for ours, plain in zip(*grads, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_intermediate_and_dense_features() -> None:
    network = shaken(vit())
    images = draw(2, 3, 32, 24)
    found = network.intermediate(images, (0, 1))
    torch.testing.assert_close(network.norm(found[1]), network.encode(images))
    dense = network.dense(images)
    assert dense.shape == (2, 48, 4, 3)
    torch.testing.assert_close(dense[:, :, 1, 2], network.encode(images)[:, 1 + 5])
    clip = vit(TubeStem(48, (2, 8, 8)), grid=(2, 4, 4), pool="mean").dense(draw(1, 3, 4, 32, 32))
    assert clip.shape == (1, 48, 2, 4, 4)
    with pytest.raises(ValueError, match="numbered from 0 to 1"):
        network.intermediate(images, (2,))


@torch.no_grad()
def test_an_image_is_a_clip_that_stands_still() -> None:
    stem = TubeStem(16, (2, 4, 4))
    image = draw(2, 3, 8, 12)
    still = image[:, :, None].expand(-1, -1, 2, -1, -1)
    assert stem.grid(image) == stem.grid(image[:, :, None]) == (1, 2, 3)
    torch.testing.assert_close(stem(image), stem(still), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stem(image[:, :, None]), stem(image))


@torch.no_grad()
@pytest.mark.parametrize(
    ("stem", "shape"),
    [
        (PatchStem(16, 4), (2, 3, 8, 12)),
        (TubeStem(16, (2, 4, 4)), (2, 3, 8, 12)),
        (TubeStem(16, (2, 4, 4)), (2, 3, 4, 8, 12)),
    ],
)
def test_kept_tokens_are_those_of_the_whole(stem: PatchStem | TubeStem, shape: tuple[int, ...]) -> None:
    x, keep = draw(*shape), torch.tensor([[0, 3, 5], [1, 2, 4]])
    whole = stem(x)
    expected = torch.stack([whole[0, keep[0]], whole[1, keep[1]]])
    torch.testing.assert_close(stem.kept(x, keep), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_convolutional_stem_of_one_patch_is_a_patch_stem() -> None:
    ours, plain = ConvStem(16, (), (), patch=4), PatchStem(16, 4)
    plain.proj.load_state_dict(ours.last.state_dict())
    x = draw(1, 3, 8, 12)
    torch.testing.assert_close(ours(x), plain(x))
    linear = ConvStem(16, (4, 8), (2, 2), norm=False, activation=None)
    torch.testing.assert_close(
        linear(x) + linear(-x), 2 * linear.last.bias.expand(1, 6, 16), atol=1e-5, rtol=1e-5
    )
    assert linear.grid(draw(1, 3, 9, 13)) == (1, 3, 4)
    assert linear(draw(1, 3, 9, 13)).shape == (1, 12, 16)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"1 x 30 x 32 .* resize or crop"):
        PatchStem(16, 4)(draw(1, 3, 30, 32))
    with pytest.raises(ValueError, match="3 x 8 x 8"):
        TubeStem(16, (2, 4, 4))(draw(1, 3, 3, 8, 8))
    with pytest.raises(ValueError, match="positions reach to 2"):
        GridPositions(16, (2, 4, 4), kind="line")((3, 4, 4))
    with pytest.raises(ValueError, match="does not go with"):
        VisionTransformer(PatchStem(16, 4), GridPositions(16, (1, 2, 2)), transformer_blocks(16, 1, 2))
    with pytest.raises(ValueError, match="no multiple"):
        PatchStem(16, 4).grid(draw(1, 3, 1, 1))
    with pytest.raises(TypeError, match="needs a stem of patches"):
        vit(ConvStem(48, (8,), (2,), patch=4)).embed(draw(1, 3, 32, 32), torch.tensor([[0]]))


def test_positions_are_resized_as_timm_and_torchvision_do() -> None:
    peer("timm")
    from timm.layers import resample_abs_pos_embed
    from torchvision.models.vision_transformer import interpolate_embeddings

    table = draw(1 + 16, 8)
    for new in ((6, 6), (3, 3), (5, 7)):
        theirs = resample_abs_pos_embed(table[None], list(new), num_prefix_tokens=1)[0]
        assert_parity(resize_positions(table, (4, 4), new, prefix=1), theirs)
    swag = interpolate_embeddings(48, 8, {"encoder.pos_embedding": table[None]})["encoder.pos_embedding"][0]
    corners = resize_positions(table, (4, 4), (6, 6), prefix=1, method="corners")
    assert_parity(corners, swag)
    assert torch.equal(corners[0], table[0])
    assert not torch.allclose(corners, resize_positions(table, (4, 4), (6, 6), prefix=1), atol=1e-3)


def test_the_line_of_sinusoids_equals_videomae() -> None:
    peer("transformers")
    from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

    assert_parity(sinusoid_line(40, 48), get_sinusoid_encoding_table(40, 48)[0], 1e-6)


def test_positions_of_shorter_clips_and_of_other_grids() -> None:
    positions = GridPositions(16, (3, 4, 4), kind="line")
    assert "table" in dict(positions.named_buffers())
    assert torch.equal(positions((1, 4, 4)), positions.table[:16])
    resized = positions.resized((2, 6, 6))
    assert resized.grid == (2, 6, 6)
    assert torch.equal(resized((2, 6, 6)), positions((2, 6, 6)))
    assert_parity(positions((2, 6, 6))[36:], resize_positions(positions.table[16:32], (4, 4), (6, 6)))
    columns_first = GridPositions(16, (1, 4, 4), prefix=1, kind="sincos")
    assert columns_first.table[0].eq(0).all()
    torch.testing.assert_close(columns_first.table[1 + 4, :8], columns_first.table[1, :8])  # the same column
    with pytest.raises(ValueError, match="use line"):
        GridPositions(16, (2, 4, 4), kind="sincos")


def test_stochastic_depth_keeps_the_mean_and_rests_in_eval() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(4000, 2, 3))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert (dropped == dropped[:, :1, :1]).all()
    blocks = transformer_blocks(16, 3, 2, drop_path=0.2)
    assert [block.drop_path.rate for block in blocks] == pytest.approx([0, 0.1, 0.2])
    network, x = vit(drop_path=0.9).eval(), draw(4, 3, 32, 32)
    assert torch.equal(network.features(x), network.features(x))
    assert not torch.equal(network.train().features(x), network.features(x))


@pytest.mark.parametrize("stem", ["patch", "tube", "conv"])
def test_init_weights_sets_everything(stem: str) -> None:
    with torch.device("meta"):
        network = vit(
            {
                "patch": lambda: PatchStem(48, 8),
                "tube": lambda: TubeStem(48, (2, 8, 8)),
                "conv": lambda: ConvStem(48, (8, 8, 8), (2, 2, 2)),
            }[stem]()
        )
    network.to_empty(device="cpu")
    for value in network.state_dict().values():
        value.fill_(torch.nan if value.is_floating_point() else -1)
    network.init_weights()
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert network(draw(2, 3, 32, 32)).abs().max() == 0  # the head starts at zero
