"""OmniMAE: the official classes (recorded), timm on images, every released layout, sizes, stages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import keep_of
from kinema.nn.counting import count_parameters
from kinema.systems.omnimae.model import (
    PRESETS,
    OmniMAEConfig,
    autoencoder,
    classifier,
    finetuned_from,
)
from kinema.systems.omnimae.objective import reconstruction_loss
from kinema.systems.omnimae.weights import CHECKPOINTS, checkpoint, convert, load
from kinema.weights import check_fit, load_strict
from tests.codecs.formula import formula_weights, uniform
from tests.parity import assert_parity, peer
from tests.shaken import draw, shaken

RECORDED = Path(__file__).parent / "official.safetensors"  # by make_official.py
SMALL = OmniMAEConfig(
    dim=48, depth=2, num_heads=3, decoder_dim=32, decoder_depth=2, decoder_heads=4, patch=(2, 8, 8), frames=4,
    image_size=32,
)  # fmt: skip


def masks(name: str, rows: int, tokens: int, dropped: int) -> Tensor:
    order = uniform(name, (rows, tokens)).argsort(1)
    return torch.zeros(rows, tokens, dtype=torch.bool).scatter_(1, order[:, :dropped], True)


def official_state(kind: str, recorded: dict[str, Tensor], network: torch.nn.Module) -> dict[str, Tensor]:
    """The official names with weights by formula, and the positions that ours computed."""
    start = f"shape.{kind}."
    shapes = {k.removeprefix(start): tuple(v.tolist()) for k, v in recorded.items() if k.startswith(start)}
    positions = next(v for k, v in network.state_dict().items() if k.endswith("positions.table"))
    state = formula_weights({k: v for k, v in shapes.items() if not k.endswith("pos_embed")})
    return state | {k: positions[None] for k in shapes if k.endswith("pos_embed")}


@torch.no_grad()
def test_pretraining_equals_the_official_classes() -> None:
    recorded = load_file(RECORDED)
    model = autoencoder(SMALL).eval()
    load_strict(model, convert(official_state("pretrain", recorded, model), True, "official"), "official")
    assert_parity(model.encoder.positions.table[::7], recorded["pos_embed"], 1e-6)
    for name, shape, tokens, dropped in (
        ("image", (2, 3, 32, 32), 16, 12),
        ("clip", (2, 3, 4, 32, 32), 32, 28),
    ):
        x, keep = uniform(name, shape).float(), keep_of(masks(name, 2, tokens, dropped))
        assert_parity(model(x, keep)[..., ::11], recorded[f"{name}.prediction"])
        assert_parity(reconstruction_loss(model, x, keep, Preprocessing()), recorded[f"{name}.loss"], 1e-6)


@torch.no_grad()
def test_classifiers_equal_the_official_classes() -> None:
    recorded = load_file(RECORDED)
    network = classifier(SMALL, 5).eval()
    load_strict(
        network, convert(official_state("finetuned", recorded, network), False, "official"), "official"
    )
    for name, shape in (("image", (2, 3, 32, 32)), ("clip", (2, 3, 4, 32, 32)), ("larger", (1, 3, 48, 48))):
        assert_parity(network(uniform(name, shape).float()), recorded[f"{name}.logits"])


@torch.no_grad()
def test_images_equal_timm_with_the_kernel_summed_over_time() -> None:
    peer("timm")
    from timm.models.vision_transformer import VisionTransformer as Peer

    ours = shaken(classifier(SMALL, 5))
    theirs = Peer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=5, class_token=False,
        global_pool="avg",
    )  # fmt: skip
    own, state = ours.state_dict(), {}
    for key in theirs.state_dict():
        name = (
            key.replace("attn.proj", "attention.out")
            .replace("attn.", "attention.")
            .replace("mlp.fc1", "mlp.up")
        )
        name = name.replace("mlp.fc2", "mlp.down").replace("fc_norm", "norm").replace("patch_embed", "stem")
        if key == "pos_embed":
            state[key] = own["positions.table"][None, :16]
        elif key == "patch_embed.proj.weight":
            state[key] = own["stem.proj.weight"].sum(2)
        else:
            state[key] = own[name]
    theirs.load_state_dict(state)
    images = draw(2, 3, 32, 32)
    assert_parity(ours(images), theirs.eval()(images))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_released_layout_is_consumed_whole(name: str) -> None:
    known = checkpoint(name)
    with torch.device("meta"):
        network = (
            autoencoder(known.config)
            if not known.num_classes
            else classifier(known.config, known.num_classes)
        )
        state = {key: torch.empty(shape) for key, shape in published(known.config, known.num_classes).items()}
    ours = convert(state, not known.num_classes, name)
    assert len(ours) == len(state)
    check_fit(network.state_dict(), ours, name, "network")


def published(config: OmniMAEConfig, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released file, written down by hand."""
    d, e, tokens = config.dim, config.decoder_dim, math.prod(config.grid)
    shapes: dict[str, tuple[int, ...]] = {"trunk.pos_embed": (1, tokens, d)}
    linear: dict[str, tuple[int, ...]] = {
        "trunk.patch_embed.proj.1": (d, 3, *config.patch),
        "trunk.norm": (d,),
    }
    for i in range(config.depth):
        linear |= _block(f"trunk.blocks.{i}", d) | {f"trunk.blocks.{i}.attn.qkv": (3 * d, d)}
    if num_classes:
        linear["head"] = (num_classes, d)
    else:
        shapes |= {"trunk.mask_token": (1, d), "trunk.decoder.pos_embed": (1, tokens, d)}
        linear |= {
            "trunk.decoder.decoder_embed": (e, d),
            "trunk.decoder.norm": (e,),
            "head": (config.outputs, e),
        }
        for i in range(config.decoder_depth):
            name = f"trunk.decoder.decoder_blocks.{i}"
            linear |= _block(name, e)
            shapes[f"{name}.attn.qkv.weight"] = (3 * e, e)
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _block(name: str, d: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.norm1": (d,), f"{name}.norm2": (d,), f"{name}.attn.proj": (d, d), f"{name}.mlp.fc1": (4 * d, d),
        f"{name}.mlp.fc2": (d, 4 * d),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"), [("vit_b", 86.2, 7.4), ("vit_l", 303.9, 13.1), ("vit_h", 631.2, 25.9)]
)
def test_counts_are_the_papers(name: str, encoder: float, decoder: float) -> None:
    config = OmniMAEConfig.preset(name)
    with torch.device("meta"):
        model = autoencoder(config)
    assert count_parameters(model.encoder) / 1e6 == pytest.approx(encoder, abs=0.05)
    own = count_parameters(model.decoder) - count_parameters(model.decoder.pixels)
    assert own / 1e6 == pytest.approx(decoder, abs=0.05)
    assert config.outputs == {"vit_h": 1176}.get(name, 1536)
    assert math.prod(config.grid) == {"vit_h": 2048}.get(name, 1568)


def test_what_travels_with_the_weights(tmp_path, monkeypatch) -> None:
    assert len(CHECKPOINTS) == 9
    assert checkpoint("vit_h_pretrain").address.endswith("/omnimae_ckpts/vith_pretrain.torch")
    ssv2 = checkpoint("vit_b_ssv2_ft")
    assert (ssv2.num_classes, ssv2.clips, ssv2.views, ssv2.licence) == (174, 5, 3, "CC-BY-NC 4.0")
    with pytest.raises(UserError, match="vit_b_in1k_ft"):
        checkpoint("vit_b_in1k")
    state = {key: draw(*shape) for key, shape in published(SMALL, 0).items()}
    torch.save(
        {"model": {k.replace("head.", "heads.0.projector."): v for k, v in state.items()}},
        tmp_path / "m.torch",
    )
    small = type(ssv2)(address="", config=SMALL, num_classes=0, preprocessing=ssv2.preprocessing)
    monkeypatch.setattr("kinema.systems.omnimae.weights.CHECKPOINTS", {"small": small})
    model = load(tmp_path / "m.torch", "small")
    assert torch.equal(model.decoder.pixels.weight, state["head.weight"])
    with pytest.raises(UserError, match="no published layout"):
        convert({**state, "trunk.other": draw(1)}, True, "file")


def test_finetuning_starts_from_the_encoder() -> None:
    torch.manual_seed(0)
    model = shaken(autoencoder(SMALL))
    network = finetuned_from(model, SMALL, 5).eval()
    assert torch.equal(network.blocks[1].mlp.up.weight, model.encoder.blocks[1].mlp.up.weight)
    assert network.norm.weight.eq(1).all()
    assert 0 < network.head.weight.abs().max() < 1e-3
    assert [block.drop_path.rate for block in network.blocks] == pytest.approx([0, 0.1])
    for other in ("dim", "depth"):
        settings = SMALL.to_dict() | {other: {"dim": 96, "depth": 3}[other]}
        with pytest.raises(UserError, match="does not fit"):
            finetuned_from(model, OmniMAEConfig.from_dict(settings), 5)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_travel(name: str) -> None:
    config = OmniMAEConfig.preset(name)
    assert OmniMAEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="must divide"):
        OmniMAEConfig.from_dict({**config.to_dict(), "frames": 15})
