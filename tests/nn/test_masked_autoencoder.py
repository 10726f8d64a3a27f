"""The masked autoencoder: transformers' ViTMAE with the same noise, what is dropped, targets and their inverse."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from kinema.nn import (
    ConvStem,
    GridPositions,
    MaskedAutoencoder,
    PatchStem,
    PixelDecoder,
    TubeStem,
    VisionTransformer,
    keep_of,
    masked_loss,
    masked_of,
    pixel_patches,
    pixel_targets,
    pixels_of,
    random_keep,
    transformer_blocks,
)
from kinema.weights import load_strict
from tests.parity import assert_parity, peer
from tests.shaken import draw, shaken

VITMAE = {  # a name of ours -> theirs, within a block
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attention.out": "attention.o_proj",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
}


def autoencoder(eps: float = 1e-6) -> MaskedAutoencoder:
    encoder = VisionTransformer(
        PatchStem(48, 8),
        GridPositions(48, (1, 4, 4), prefix=1, kind="sincos"),
        transformer_blocks(48, 2, 3, eps=eps),
        eps=eps,
    )
    decoder = PixelDecoder(
        48,
        32,
        GridPositions(32, (1, 4, 4), prefix=1, kind="sincos"),
        transformer_blocks(32, 1, 2, eps=eps),
        3 * 64,
        eps=eps,
    )
    return MaskedAutoencoder(encoder, decoder)


def clip_autoencoder(wide: bool = True) -> MaskedAutoencoder:
    """Positions and mask token at the encoder's width, as OmniMAE has them, or at the decoder's."""
    encoder = VisionTransformer(
        TubeStem(48, (2, 8, 8)),
        GridPositions(48, (2, 4, 4), kind="line"),
        transformer_blocks(48, 2, 3),
        pool="mean",
    )
    positions = GridPositions(48 if wide else 32, (2, 4, 4), kind="line")
    decoder = PixelDecoder(48, 32, positions, transformer_blocks(32, 1, 2, qkv_bias=False), 3 * 2 * 64)
    return MaskedAutoencoder(encoder, decoder)


def our_state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """ViTMAE's tensors under our names; queries, keys and values become one matrix."""
    outer = {
        "vit.embeddings.cls_token": "encoder.class_token",
        "vit.embeddings.position_embeddings": "encoder.positions.table",
        "decoder.mask_token": "decoder.mask_token",
        "decoder.decoder_pos_embed": "decoder.positions.table",
    }
    layers = {
        "vit.embeddings.patch_embeddings.projection": "encoder.stem.proj",
        "vit.layernorm": "encoder.norm",
        "decoder.decoder_embed": "decoder.project",
        "decoder.decoder_norm": "decoder.norm",
        "decoder.decoder_pred": "decoder.pixels",
    }
    state = {}
    for key, value in theirs.items():
        layer, _, end = key.rpartition(".")
        if key in outer:
            state[outer[key]] = value.reshape(-1, value.shape[-1]).squeeze(0)
        elif layer in layers:
            state[f"{layers[layer]}.{end}"] = value
        elif match := re.fullmatch(r"(vit|decoder)\.(?:layers|decoder_layers)\.(\d+)\.(.+)", layer):
            side = {"vit": "encoder", "decoder": "decoder"}[match[1]]
            start = f"{side}.blocks.{match[2]}"
            inner = {their: our for our, their in VITMAE.items()}.get(match[3])
            if inner is not None:
                state[f"{start}.{inner}.{end}"] = value
            elif match[3].endswith("q_proj"):
                parts = [theirs[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                state[f"{start}.attention.qkv.{end}"] = torch.cat(parts)
    return state


@torch.no_grad()
@pytest.mark.parametrize("normalise", [True, False])
def test_loss_equals_transformers_with_the_same_noise(normalise: bool) -> None:
    peer("transformers")
    from transformers import ViTMAEConfig, ViTMAEForPreTraining
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    config = ViTMAEConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192, image_size=32, patch_size=8,
        decoder_num_attention_heads=2, decoder_hidden_size=32, decoder_num_hidden_layers=1,
        decoder_intermediate_size=128, mask_ratio=0.75, norm_pix_loss=normalise, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs, ours = shaken(ViTMAEForPreTraining(config)), autoencoder().eval()
    table = build_2d_sinusoidal_position_embedding(
        4, 4, 48, cls_token=True
    )  # rows first, and MAE has columns first
    assert_parity(ours.encoder.positions.table, table.roll(24, 1), 2e-7)
    load_strict(ours, our_state(theirs.state_dict()), "transformers")
    images, noise = draw(2, 3, 32, 32), torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    expected = theirs(images, noise=noise)
    keep = random_keep(noise, 4)
    prediction = ours(images, keep)
    assert_parity(prediction, expected.logits)
    assert torch.equal(masked_of(keep, 16), expected.mask.bool())
    target = pixel_targets(images, (1, 8, 8), "patch" if normalise else "none")
    assert_parity(masked_loss(prediction, target, keep), expected.loss)


def test_what_is_dropped_costs_nothing() -> None:
    model = clip_autoencoder()
    seen: list[int] = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    model.encoder.stem.proj.register_forward_hook(lambda *_: seen.append(-1))  # the convolution over all
    clip = draw(2, 3, 4, 32, 32)
    assert model.tokens(clip) == 32
    prediction = model(clip, random_keep(torch.rand(2, 32), 2))
    assert seen == [2, 2]
    assert prediction.shape == (2, 32, 3 * 2 * 64)


@torch.no_grad()
def test_the_pixels_of_dropped_places_are_not_seen() -> None:
    model = shaken(clip_autoencoder())
    clip, keep = draw(1, 3, 4, 32, 32), torch.tensor([[3, 20]])
    other = clip + 10 * (1 - pixels_of(masked_of(keep, 32).logical_not()[..., None].expand(1, 32, 384).float(),
                                       clip, (2, 8, 8), "none"))  # fmt: skip
    assert not torch.equal(other, clip)
    torch.testing.assert_close(model(other, keep), model(clip, keep))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 3, 4, 32, 32)])
def test_keeping_all_tokens_is_the_plain_encoder(shape: tuple[int, ...]) -> None:
    encoder = shaken(clip_autoencoder()).encoder
    x = draw(*shape)
    everything = torch.arange(16 if len(shape) == 4 else 32).expand(2, -1)
    torch.testing.assert_close(encoder.encode(x, everything), encoder.encode(x), atol=1e-5, rtol=1e-5)


def test_an_image_and_its_still_clip_have_one_target() -> None:
    image = draw(1, 3, 16, 16)
    still = image[:, :, None].expand(-1, -1, 2, -1, -1)
    assert torch.equal(pixel_targets(image, (2, 8, 8)), pixel_targets(still, (2, 8, 8)))
    assert pixel_patches(image, (1, 8, 8)).shape == (1, 4, 64, 3)
    first = pixel_patches(image, (1, 8, 8))[0, 3]  # rows, columns, channels
    torch.testing.assert_close(first.unflatten(0, (8, 8)), image[0, :, 8:, 8:].permute(1, 2, 0))


@pytest.mark.parametrize("normalise", ["patch", "channel", "none"])
@pytest.mark.parametrize("shape", [(2, 3, 16, 24), (2, 3, 4, 16, 24), (2, 3, 1, 16, 24)])
def test_targets_become_pixels_again(shape: tuple[int, ...], normalise: str) -> None:
    x = draw(*shape)
    target = pixel_targets(x, (2, 8, 8), normalise)
    torch.testing.assert_close(pixels_of(target, x, (2, 8, 8), normalise), x, atol=1e-5, rtol=1e-5)
    if normalise == "channel":
        cells = target.unflatten(2, (-1, 3))
        torch.testing.assert_close(cells.var(2), torch.ones_like(cells[:, :, 0]), atol=1e-3, rtol=0)
        assert cells.mean(2).abs().max() < 1e-5


def test_masks_and_kept_places() -> None:
    keep = random_keep(torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.0, 0.9]]), 2)
    assert keep.tolist() == [[1, 3], [0, 2]]
    masked = masked_of(keep, 4)
    assert masked.tolist() == [[True, False, True, False], [False, True, False, True]]
    assert torch.equal(keep_of(masked), keep)
    with pytest.raises(ValueError, match="as many tokens as the others"):
        keep_of(torch.tensor([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="at least one"):
        random_keep(torch.rand(1, 4), 0)


def test_loss_counts_dropped_tokens_alone() -> None:
    prediction, target = torch.zeros(1, 4, 6), torch.arange(4.0)[None, :, None].expand(1, 4, 6)
    assert masked_loss(prediction, target, torch.tensor([[0, 3]])).item() == pytest.approx((1 + 4) / 2)
    assert masked_loss(prediction, target, torch.arange(4)[None]).item() == 0


def test_mask_token_and_positions_stand_before_or_behind_the_projection() -> None:
    wide, narrow = clip_autoencoder(), clip_autoencoder(wide=False)
    assert (len(wide.decoder.mask_token), len(narrow.decoder.mask_token)) == (48, 32)
    for model in (wide, narrow):
        x = draw(1, 3, 32, 32)
        loss = masked_loss(
            model(x, torch.tensor([[1, 2]])), pixel_targets(x, (2, 8, 8)), torch.tensor([[1, 2]])
        )
        loss.backward()
        assert model.decoder.mask_token.grad is not None
        assert model.decoder.mask_token.grad.abs().max() > 0
    with pytest.raises(ValueError, match="fit neither"):
        PixelDecoder(48, 32, GridPositions(16, (1, 4, 4)), transformer_blocks(32, 1, 2), 192)


def test_a_stem_that_sees_its_neighbours_cannot_be_masked() -> None:
    stem, positions = ConvStem(16, (8,), (2,), patch=4), GridPositions(16, (1, 4, 4), prefix=1)
    encoder = VisionTransformer(stem, positions, transformer_blocks(16, 1, 2))
    decoder = PixelDecoder(16, 16, positions, transformer_blocks(16, 1, 2), 3 * 64)
    with pytest.raises(TypeError, match="needs a stem of patches"):
        MaskedAutoencoder(encoder, decoder)


def test_init_weights_sets_everything() -> None:
    with torch.device("meta"):
        model = clip_autoencoder()
    model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(torch.nan)
    model.init_weights()
    assert all(value.isfinite().all() for value in model.state_dict().values())
