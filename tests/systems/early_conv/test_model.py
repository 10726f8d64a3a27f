"""ViT_P and ViT_C: the published counts, the start, the presets, and the two other layouts."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.errors import UserError
from kinema.nn.counting import count_parameters
from kinema.systems.early_conv.model import PRESETS, EarlyConvConfig, build
from kinema.systems.early_conv.weights import PREPROCESSING, convert, load
from kinema.weights import check_fit, load_strict
from tests.parity import assert_parity, peer
from tests.shaken import draw, shaken

COUNTS = {  # parameters, billions of multiply-adds
    "vit_p_1gf": (4_830_376, 1.1),
    "vit_c_1gf": (4_567_936, 1.08),
    "vit_p_4gf": (18_507_112, 3.9),
    "vit_c_4gf": (17_754_136, 3.96),
    "vit_p_18gf": (86_567_656, 17.5),
    "vit_c_18gf": (81_573_160, 17.71),
    "vit_p_36gf": (178_364_392, 35.9),
    "vit_c_36gf": (167_796_008, 35.00),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_papers(name: str) -> None:
    parameters, billions = COUNTS[name]
    with torch.device("meta"):
        network = build(EarlyConvConfig.preset(name)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.head(network.encode(torch.empty(1, 3, 224, 224))[:, 0])
    assert count_parameters(network) == parameters
    measured = counter.get_total_flops() / 2e9
    print(f"{name}: {measured:.2f} billion multiply-adds, the paper {billions}")
    assert measured == pytest.approx(billions, rel=0.03)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_travel(name: str) -> None:
    config = EarlyConvConfig.preset(name)
    assert EarlyConvConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with torch.device("meta"):
        network = build(config)
        side = config.image_size // config.patch
        assert network.stem.grid(torch.empty(1, 3, config.image_size, config.image_size)) == (1, side, side)


@pytest.mark.parametrize("name", ["nano_p", "nano_c"])
def test_nano_learns_and_starts_with_the_papers_weights(name: str) -> None:
    torch.manual_seed(0)
    network = build(EarlyConvConfig.preset(name))
    assert network.head.weight.eq(0).all()
    assert network.class_token.eq(0).all()
    images, labels = draw(16, 3, 64, 64), torch.arange(16) % 10
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(22.0).log().item(), abs=1e-5)
    assert losses[-1] < losses[0] - 0.05


def test_stems_of_the_ablation() -> None:
    for strides, last in (((2, 2, 2), 2), ((2, 2, 1), 4), ((2, 1, 1), 8), ((1, 1, 1), 16)):
        config = EarlyConvConfig(
            dim=32, depth=1, num_heads=2, widths=(8, 8, 8), strides=strides, image_size=32, num_classes=3
        )
        stem = build(config).stem
        assert stem.last.weight.shape[2:] == (last, last)
        assert stem(draw(1, 3, 32, 32)).shape == (1, 4, 32)
    linear = EarlyConvConfig(
        dim=32, depth=1, num_heads=2, widths=(8,), strides=(2,), patch=2, image_size=8, between="nothing"
    )
    assert build(linear).stem.layers[0].norm is None


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match="must divide"):
        EarlyConvConfig(dim=32, depth=1, num_heads=2, widths=(8,), strides=(3,))
    with pytest.raises(UserError, match="num_heads=5"):
        EarlyConvConfig(dim=32, depth=1, num_heads=5)
    with pytest.raises(UserError, match="vit_c_18gf"):
        EarlyConvConfig.preset("vit_c_19gf")


@torch.no_grad()
@pytest.mark.parametrize("name", ["nano_p", "nano_c"])
def test_torchvisions_layout_and_logits(name: str, tmp_path) -> None:
    vision_transformer = peer("torchvision").models.vision_transformer
    config = EarlyConvConfig.from_dict({**EarlyConvConfig.preset(name).to_dict(), "eps": 1e-6})
    stem = [
        vision_transformer.ConvStemConfig(w, 3, s) for w, s in zip(config.widths, config.strides, strict=True)
    ]
    theirs = shaken(
        vision_transformer.VisionTransformer(
            image_size=64, patch_size=8, num_layers=config.depth, num_heads=4, hidden_dim=96, mlp_dim=288,
            num_classes=22, conv_stem_configs=stem or None,
        )
    )  # fmt: skip
    torch.save(theirs.state_dict(), tmp_path / "torchvision.pth")
    ours = build(config).eval()
    load(ours, tmp_path / "torchvision.pth", "torchvision")
    images = draw(2, 3, 64, 64)
    assert_parity(ours(images), theirs(images))


def pycls_layout(config: EarlyConvConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes as pycls saves them, written down by hand."""
    d, hidden, tokens = (
        config.dim,
        config.mlp_ratio * config.dim,
        (config.image_size // config.patch) ** 2 + 1,
    )
    shapes: dict[str, tuple[int, ...]] = {"class_token": (1, 1, d), "pos_embedding": (tokens, 1, d)}
    linear: dict[str, tuple[int, ...]] = {"head.head_fc": (config.num_classes, d)}
    if config.widths:
        before = 3
        for k, width in enumerate(config.widths):
            shapes[f"stem.cstem{k}_conv.weight"] = (width, before, 3, 3)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"stem.cstem{k}_bn.{part}"] = (width,)
            shapes[f"stem.cstem{k}_bn.num_batches_tracked"] = ()
            before = width
        linear["stem.cstem_last_conv"] = (d, before, 1, 1)
    else:
        linear["stem.patchify"] = (d, 3, config.patch, config.patch)
    norms = ["encoder.ln"]
    for i in range(config.depth):
        block = f"encoder.block_{i}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        shapes[f"{block}.self_attention.block.in_proj_weight"] = (3 * d, d)
        shapes[f"{block}.self_attention.block.in_proj_bias"] = (3 * d,)
        linear[f"{block}.self_attention.block.out_proj"] = (d, d)
        linear[f"{block}.mlp_block.linear_1"] = (hidden, d)
        linear[f"{block}.mlp_block.linear_2"] = (d, hidden)
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (d,)
    for name, shape in linear.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


@pytest.mark.parametrize("name", [name for name in PRESETS if "72" not in name])
def test_the_layout_of_pycls_is_consumed_whole(name: str) -> None:
    config = EarlyConvConfig.preset(name)
    with torch.device("meta"):
        network = build(config)
        state = {key: torch.empty(shape) for key, shape in pycls_layout(config).items()}
    ours = convert(state, "pycls", "file")
    assert len(ours) == len(state)
    check_fit(network.state_dict(), ours, "file", "ViT")


def test_pycls_takes_blue_first() -> None:
    config = EarlyConvConfig.preset("nano_c")
    state = {key: draw(*shape) for key, shape in pycls_layout(config).items()}
    ours = convert(state, "pycls", "file")
    assert torch.equal(ours["stem.layers.0.conv.weight"][:, 0], state["stem.cstem0_conv.weight"][:, 2])
    assert torch.equal(ours["stem.layers.1.conv.weight"], state["stem.cstem1_conv.weight"])
    load_strict(build(config), ours, "file")
    with pytest.raises(UserError, match="no published layout"):
        convert({**state, "stem.other": draw(1)}, "pycls", "file")
    assert (PREPROCESSING.size, PREPROCESSING.resize) == (224, 256)
