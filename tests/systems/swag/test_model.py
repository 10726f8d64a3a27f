"""SWAG's networks against what the official classes computed and against torchvision's and timm's, sizes and files."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from kinema.errors import UserError
from kinema.nn.counting import count_parameters
from kinema.systems.swag.model import PRESETS, RegNetConfig, ViTConfig, at, build, preset, transfer
from kinema.systems.swag.weights import CHECKPOINTS, checkpoint, convert, load
from kinema.weights import load_strict
from tests.codecs.formula import uniform
from tests.parity import assert_parity, peer
from tests.systems.swag.layout import published_layout
from tests.systems.swag.make_swag import FILE, SHAPES, TINY, tiny_weights

SIZES = {  # with a head of 1000 classes for RegNets, and in millions without one for transformers at 224
    "regnety_16gf": 83_590_140, "regnety_32gf": 145_046_770, "regnety_128gf": 644_812_894,
    "vit_b16": 85.80, "vit_l16": 303.30, "vit_h14": 630.76,
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(FILE)


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.nn.Module]:
    networks = {}
    for name, config in TINY.items():
        networks[name] = build(config).eval()
        load_strict(networks[name], convert(tiny_weights(config), config, name), name)
    return networks


@pytest.mark.parametrize("name", TINY)
def test_the_official_networks(tiny, recorded, name):
    x = uniform(name, SHAPES[name]).float()
    with torch.no_grad():
        scale = recorded[f"{name}.logits"].abs().max()
        assert_parity(tiny[name](x) / scale, recorded[f"{name}.logits"] / scale)
        trunk = recorded[f"{name}.trunk"]
        ours = tiny[name].dense(x) if name == "regnet" else tiny[name].features(x)
        assert_parity(ours / trunk.abs().max(), trunk / trunk.abs().max())
        if name == "regnet":
            assert_parity(tiny[name].features(x), trunk.mean((2, 3)))


def test_the_official_way_to_a_larger_size(tiny, recorded):
    larger = transfer(tiny["vit"], at(TINY["vit"], 9, 36)).eval()
    assert not larger.head.weight.any()
    larger.head.load_state_dict(tiny["vit"].head.state_dict())
    with torch.no_grad():
        x = uniform("larger vit", SHAPES["larger vit"]).float()
        assert_parity(larger(x), recorded["larger vit.logits"])
        assert_parity(tiny["vit"](x), recorded["larger vit.logits"])  # resized on the fly


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if not name.endswith("_tv")])
def test_swags_files_are_used_whole(name):
    known = checkpoint(name)
    with torch.device("meta"):
        network = build(known.config)
        state = {key: torch.empty(shape) for key, shape in published_layout(known.config).items()}
    load_strict(network, convert(state, known.config, name), name)


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if name.endswith("_tv")])
def test_torchvisions_files_are_used_whole(name):
    models = peer("torchvision.models")
    known = checkpoint(name)
    kind, _, size = name.removesuffix("_tv").removesuffix("_in1k").removesuffix("_lc").partition("_")
    theirs = f"regnet_y_{size}" if kind == "regnety" else f"vit_{size[0]}_{size[1:]}"
    config = known.config
    if isinstance(config, RegNetConfig):
        params = models.regnet.BlockParams.from_init_params(
            depth=config.depth, w_0=config.initial, w_a=config.slope, w_m=config.step,
            group_width=config.group_width, se_ratio=0.25,
        )  # fmt: skip
        make = partial(models.regnet.RegNet, params)
    else:
        make = partial(getattr(models, theirs), image_size=known.preprocessing.size)
    with torch.device("meta"):
        state = make().state_dict()
        network = build(config)
    load_strict(network, convert(state, config, name), name)
    weights = models.get_model_weights(theirs)
    release = weights["IMAGENET1K_SWAG_LINEAR_V1" if "_lc" in name else "IMAGENET1K_SWAG_E2E_V1"]
    steps = release.transforms()
    assert release.url == known.address
    assert (steps.crop_size, steps.resize_size) == ([known.preprocessing.size],) * 2
    assert (tuple(steps.mean), tuple(steps.std)) == (known.preprocessing.mean, known.preprocessing.std)
    assert steps.interpolation.value == known.preprocessing.interpolation


def test_torchvisions_transformer_computes_the_same():
    models = peer("torchvision.models.vision_transformer")
    config = TINY["vit"]
    torch.manual_seed(0)
    theirs = models.VisionTransformer(
        24, 4, config.depth, config.num_heads, config.dim, 4 * config.dim, num_classes=9
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        ours = build(config)
        load_strict(ours, convert(theirs.state_dict(), config, "torchvision"), "torchvision")
        x = torch.randn(2, 3, 24, 24)
        assert_parity(ours.eval()(x), theirs.eval()(x))


def test_timms_regnet_computes_the_same():
    timm = peer("timm.models.regnet")
    config = TINY["regnet"]
    numbers = timm.RegNetCfg(
        depth=config.depth, w0=config.initial, wa=config.slope, wm=config.step,
        group_size=config.group_width, se_ratio=0.25,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = timm.RegNet(numbers, num_classes=9).eval()
    with torch.no_grad():
        theirs.head.fc.weight.normal_()
        ours = build(config).eval()
        load_strict(ours, convert(theirs.state_dict(), config, "timm"), "timm")
        x = torch.randn(2, 3, 33, 64)
        want = theirs(x)
        assert_parity(ours(x) / want.abs().max(), want / want.abs().max())


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    config = preset(name)
    with torch.device("meta"):
        if isinstance(config, RegNetConfig):
            assert count_parameters(build(at(config, 1000))) == SIZES[name]
        else:
            assert round(count_parameters(build(config)) / 1e6, 2) == SIZES[name]


def test_a_new_head_on_the_trained_trunk(tiny):
    new = transfer(tiny["regnet"], at(TINY["regnet"], 4)).eval()
    x = torch.randn(1, 3, 40, 40)
    assert torch.equal(new.features(x), tiny["regnet"].features(x))
    assert new(x).shape == (1, 4)
    with pytest.raises(UserError, match="another trunk"):
        transfer(tiny["regnet"], TINY["vit"])
    with pytest.raises(UserError, match="another trunk"):
        transfer(tiny["vit"], dataclasses.replace(TINY["vit"], depth=3))


@pytest.mark.parametrize("name", ["nano", "nano_vit"])
def test_nano_learns_and_every_weight_starts_somewhere(name):
    torch.manual_seed(0)
    network = build(at(preset(name), 5))
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    network.features(torch.randn(2, 3, 32, 32)).square().sum().backward()
    without = [key for key, p in network.named_parameters() if p.grad is None]
    assert all(key.startswith("head.") for key in without)


def test_the_transformer_starts_as_swag_starts_it():
    network = build(at(preset("nano_vit"), 5))
    assert not network.class_token.any()
    assert not network.head.weight.any()
    assert float(network.stem.proj.weight.detach().std()) == pytest.approx((3 * 16) ** -0.5, rel=0.15)
    assert 0 < float(network.blocks[0].mlp.up.bias.detach().abs().max()) < 1e-5


def test_files_that_are_not_there_or_of_another_network(tmp_path):
    with pytest.raises(UserError, match=r"CC BY-NC 4.0 at https://.*/SWAG/vit_b16_in1k.torch"):
        load(tmp_path / "missing.torch", "vit_b16_in1k")
    with pytest.raises(UserError, match="no preset 'vit_x16'"):
        load(tmp_path / "missing.torch", "vit_x16")
    torch.save(tiny_weights(TINY["regnet"]), tmp_path / "tiny.torch")
    with pytest.raises(UserError, match="do not fit this RegNet"):
        load(tmp_path / "tiny.torch", "regnety_16gf_in1k")
    with pytest.raises(UserError, match="no published layout"):
        load(tmp_path / "tiny.torch", "vit_b16")


def test_settings_round_trip_and_refuse_what_cannot_be():
    assert RegNetConfig.from_dict(PRESETS["nano"].to_dict()) == PRESETS["nano"]
    assert ViTConfig.from_dict(PRESETS["vit_b16"].to_dict()) == PRESETS["vit_b16"]
    with pytest.raises(UserError, match="must be a multiple"):
        at(preset("vit_b16"), 10, 225)
