"""MAWS's sizes and stages, and the published layouts of every size."""

from __future__ import annotations

import json
import math

import pytest
import torch

from kinema.errors import UserError
from kinema.nn.counting import count_parameters
from kinema.systems.maws.model import PRESETS, MawsConfig, autoencoder, encoder, transfer
from kinema.systems.maws.objective import contrastive_loss, masking_loss
from kinema.systems.maws.weights import CHECKPOINTS, LICENCE, checkpoint, convert, load
from kinema.train.layer_decay import layer_decay
from kinema.train.mixing import soft_cross_entropy
from kinema.weights import check_fit
from tests.parity import assert_parity, peer
from tests.shaken import draw, shaken

SMALL = MawsConfig(
    dim=96, depth=6, num_heads=4, patch=4, image_size=32, decoder_dim=64, decoder_depth=2, decoder_heads=4
)
COUNTS = {  # without head, in millions, as the digest of the paper has them
    "vit_b16": (85.8, 0.05),
    "vit_l16": (303.3, 0.05),
    "vit_h14": (630.8, 0.05),
    "vit_2b14": (1890, 1),
    "vit_6.5b14": (6448, 1),
}


def published(config: MawsConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released file, written down by hand."""
    d, tokens = config.dim, math.prod(config.grid) + 1
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, d), "pos_embed": (1, tokens, d)}
    linear: dict[str, tuple[int, ...]] = {"patch_embed.proj": (d, 3, config.patch, config.patch)}
    for i in range(config.depth):
        linear |= _block(f"blocks.{i}", d)
    if config.num_classes:
        linear["head"] = (config.num_classes, d)
    return shapes | _with_biases(linear | {"norm": (d,)})


def published_decoder(config: MawsConfig) -> dict[str, tuple[int, ...]]:
    """What the files for looking at reconstructions hold besides."""
    d, tokens = config.decoder_dim, math.prod(config.grid) + 1
    linear: dict[str, tuple[int, ...]] = {
        "decoder_embed": (d, config.dim),
        "decoder_norm": (d,),
        "decoder_pred": (3 * config.patch**2, d),
    }
    for i in range(config.decoder_depth):
        linear |= _block(f"decoder_blocks.{i}", d)
    return {"mask_token": (1, 1, d), "decoder_pos_embed": (1, tokens, d)} | _with_biases(linear)


def _block(name: str, d: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.norm1": (d,), f"{name}.norm2": (d,), f"{name}.attn.qkv": (3 * d, d), f"{name}.attn.proj": (d, d),
        f"{name}.mlp.fc1": (4 * d, d), f"{name}.mlp.fc2": (d, 4 * d),
    }  # fmt: skip


def _with_biases(linear: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": s for name, s in linear.items()} | {
        f"{name}.bias": s[:1] for name, s in linear.items()
    }


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_released_layout_is_consumed_whole(name: str) -> None:
    known = checkpoint(name)
    layout = published(known.config) | (published_decoder(known.config) if known.decoder else {})
    with torch.device("meta"):
        network = autoencoder(known.config) if known.decoder else encoder(known.config)
        state = {key: torch.empty(shape) for key, shape in layout.items()}
    ours = convert(state, known.decoder, name)
    assert len(ours) == len(layout)
    check_fit(network.state_dict(), ours, name, "network")


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_papers(name: str) -> None:
    with torch.device("meta"):
        network = encoder(MawsConfig.preset(name))
    millions = count_parameters(network) / 1e6
    print(f"{name}: {millions:.1f} M")
    expected, tolerance = COUNTS[name]
    assert millions == pytest.approx(expected, abs=tolerance)


def test_what_travels_with_the_weights() -> None:
    assert len(CHECKPOINTS) == 5 + 5 + 2 + 5 + 6
    finetuned, clip_like = checkpoint("vit_6.5b14_ft_in1k_maws"), checkpoint("vit_h14_maws")
    assert (finetuned.preprocessing.fit, finetuned.preprocessing.size) == ("stretch", 518)
    assert finetuned.address.endswith("/maws/finetune/in1k/maws/vit_6.5b14_518.pt")
    assert (clip_like.preprocessing.fit, clip_like.preprocessing.size) == ("crop", 224)
    assert clip_like.config.grid == (1, 16, 16)
    assert checkpoint("vit_b16_ft_in1k_maws").config.grid == (1, 32, 32)
    assert finetuned.licence == LICENCE == "CC-BY-NC 4.0"
    with pytest.raises(UserError, match="vit_b16_maws"):
        checkpoint("vit_b16_mawz")


@torch.no_grad()
def test_a_released_file_equals_timm(tmp_path, monkeypatch) -> None:
    peer("timm")
    from timm.models.vision_transformer import VisionTransformer as Peer

    theirs = shaken(Peer(img_size=32, patch_size=4, embed_dim=96, depth=6, num_heads=4, num_classes=7))
    torch.save(theirs.state_dict(), tmp_path / "file.pt")
    small = {"small": _small(num_classes=7), "other": _small(num_classes=8)}
    monkeypatch.setattr("kinema.systems.maws.weights.CHECKPOINTS", small)
    ours = load(tmp_path / "file.pt", "small")
    images = draw(2, 3, 32, 32)
    assert_parity(ours(images), theirs(images))
    with pytest.raises(UserError, match=r"head\.weight is \(7, 96\)"):
        load(tmp_path / "file.pt", "other")
    with pytest.raises(UserError, match="no weight file"):
        load(tmp_path / "missing.pt", "small")


def _small(num_classes: int):
    known = checkpoint("vit_b16_ft_in1k_maws")
    return type(known)(
        address=known.address, config=SMALL.at(32, num_classes=num_classes), preprocessing=known.preprocessing
    )


def test_a_file_with_a_decoder_and_its_entry(tmp_path, monkeypatch) -> None:
    known = checkpoint("mae_visualize_vit_base")
    small = type(known)(address="", config=SMALL, preprocessing=known.preprocessing, decoder=True)
    state = {key: draw(*shape) for key, shape in (published(SMALL) | published_decoder(SMALL)).items()}
    torch.save({"model": state}, tmp_path / "mae.pth")
    monkeypatch.setattr("kinema.systems.maws.weights.CHECKPOINTS", {"small": small})
    model = load(tmp_path / "mae.pth", "small")
    assert torch.equal(model.decoder.positions.table, state["decoder_pos_embed"][0])
    assert torch.equal(model.encoder.class_token, state["cls_token"].flatten())
    with pytest.raises(UserError, match="no published layout"):
        convert({**state, "fc_other": draw(1)}, True, "file")


def test_the_stages_follow_each_other() -> None:
    torch.manual_seed(0)
    first = autoencoder(SMALL)
    assert not any(name.startswith("encoder.positions") for name, _ in first.named_parameters())
    tagger = transfer(first.encoder, SMALL.at(32, num_classes=12))
    assert torch.equal(tagger.positions.table, first.encoder.positions.table)
    assert any(name == "positions.table" for name, _ in tagger.named_parameters())
    images = draw(2, 3, 32, 32)
    torch.testing.assert_close(tagger.features(images), first.encoder.features(images))
    larger = transfer(tagger, SMALL.at(48, num_classes=5))
    assert larger(draw(2, 3, 48, 48)).shape == (2, 5)
    torch.testing.assert_close(larger.features(images).shape, tagger.features(images).shape)
    wider = MawsConfig.from_dict({**SMALL.to_dict(), "dim": 128})
    with pytest.raises(UserError, match="same width, depth and patch"):
        transfer(tagger, wider)


def test_masking_loss_falls_and_repeats() -> None:
    torch.manual_seed(0)
    model = autoencoder(MawsConfig.from_dict({**SMALL.to_dict(), "depth": 2}))
    images = torch.linspace(-1, 1, 32).expand(8, 3, 32, 32) + 0.1 * draw(8, 3, 32, 32)
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    first, again = (masking_loss(model, images, seed)[0] for seed in seeds)
    assert torch.equal(first, again)
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=2e-3), torch.Generator().manual_seed(2)
    for _ in range(12):
        loss, _ = masking_loss(model, images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.97 * first
    with pytest.raises(UserError, match="between 0 and 1"):
        masking_loss(model, images, generator, masked=1.0)


def test_soft_targets_and_contrast() -> None:
    logits = draw(4, 6)
    tags = torch.zeros(4, 6)
    tags[0, [1, 4]] = 0.5
    tags[1:, 2] = 1.0
    expected = -(tags * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, tags), expected)
    same = torch.nn.functional.normalize(draw(5, 8), dim=1)
    assert contrastive_loss(same, same, torch.tensor(100.0)) < 0.01
    torch.testing.assert_close(
        contrastive_loss(same, draw(5, 8, seed=1), torch.tensor(0.0)), torch.tensor(5.0).log()
    )


def test_layer_decay_reaches_every_parameter() -> None:
    network = encoder(SMALL.at(32, num_classes=3))
    factors = layer_decay(network, 0.5)
    assert factors["blocks.5.*"] == 0.5
    assert factors["blocks.0.*"] == 0.5**6
    assert factors["stem.*"] == factors["class_token"] == factors["positions.*"] == 0.5**7
    assert factors["*"] == 1
    lower = layer_decay(network, 0.5, head=0.5)
    assert all(lower[name] == 0.5 * factors[name] for name in factors)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_travel(name: str) -> None:
    config = MawsConfig.preset(name)
    assert MawsConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="multiple of patch"):
        config.at(config.image_size + 1)
