"""Omnivore against what the official classes computed, its published sizes and files, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from kinema.errors import UserError
from kinema.nn.counting import count_parameters
from kinema.systems.omnivore.model import PRESETS, HeadConfig, Omnivore, OmnivoreConfig, inflate
from kinema.systems.omnivore.weights import CHECKPOINTS, convert, load
from kinema.weights import load_strict, read_weights
from tests.codecs.formula import formula_weights, uniform
from tests.parity import assert_parity
from tests.systems.omnivore.layout import published_layout
from tests.systems.omnivore.make_omnivore import FILE, INPUTS, TINY

# millions of weights in the trunk, embeddings included
TRUNKS = {"swin_t": 27.9, "swin_s": 49.5, "swin_b": 88.7, "swin_l": 196.3}


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(FILE)


@pytest.fixture(scope="module")
def tiny() -> Omnivore:
    shapes = {key: shape for key, shape in published_layout(TINY).items() if not key.endswith("index")}
    network = Omnivore(TINY).eval()
    load_strict(network, convert(formula_weights(shapes), "formula").state, "formula")
    return network


@pytest.mark.parametrize("name", INPUTS)
def test_the_official_network(tiny, recorded, name):
    kind, shape = INPUTS[name]
    x = uniform(name, shape).float()
    with torch.no_grad():
        assert_parity(tiny.features(x), recorded[f"{name}.features"])
        assert_parity(tiny(x, kind), recorded[f"{name}.logits"])


def test_the_official_stages(tiny, recorded):
    x = uniform("video", INPUTS["video"][1]).float()
    with torch.no_grad():
        stages = tiny.stage_outputs(x)
        assert_parity(stages[0], recorded["video.interim0"])
        assert_parity(stages[1], recorded["video.interim1"])
        assert_parity(tiny.dense(x), recorded["video.stage2"])
        before = tiny.trunk.norm(stages[1].movedim(1, -1)).movedim(-1, 1)
        assert_parity(before, recorded["video.stage1"])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_files_are_used_whole(name):
    config = CHECKPOINTS[name].config
    with torch.device("meta"):
        network = Omnivore(config)
        state = {key: torch.empty(shape) for key, shape in published_layout(config).items()}
    renamed = convert(state, name)
    load_strict(network, renamed.state, name)
    assert {key.rpartition(".")[2] for key in renamed.dropped} == {"relative_position_index"}
    assert len(renamed.dropped) == sum(config.depths)


@pytest.mark.parametrize("name", TRUNKS)
def test_published_sizes(name):
    with torch.device("meta"):
        network = Omnivore(PRESETS[name])
        trunk = count_parameters(network) - count_parameters(network.heads)
        assert round(trunk / 1e6, 1) == TRUNKS[name]
        assert network(torch.empty(1, 3, 224, 224), "image").shape == (1, 1000)
        assert network.dense(torch.empty(1, 3, 32, 224, 224)).shape == (1, 8 * PRESETS[name].dim, 16, 7, 7)
        assert network(torch.empty(1, 4, 1, 224, 224), "rgbd").shape == (1, 19)


def test_a_file_of_two_tables_loads(tmp_path, tiny):
    """The way in which the owner packs it, and in which the trainer does."""
    shapes = published_layout(TINY)
    state = formula_weights(shapes)
    parts = {
        part: {key.removeprefix(f"{part}."): v for key, v in state.items() if key.startswith(part)}
        for part in ("trunk", "heads")
    }
    torch.save(parts, tmp_path / "a.torch")
    read, _ = read_weights(tmp_path / "a.torch")
    assert read.keys() == state.keys()
    trainer = {
        key.replace("heads.image.", "heads.0.")
        .replace("heads.rgbd.", "heads.1.")
        .replace("heads.video.", "heads.2."): v
        for key, v in state.items()
    }
    torch.save({"state_dict": trainer}, tmp_path / "b.torch")
    for name in ("a.torch", "b.torch"):
        network = Omnivore(TINY)
        load_strict(network, convert(read_weights(tmp_path / name)[0], name).state, name)
        assert all(torch.equal(v, network.state_dict()[key]) for key, v in tiny.state_dict().items())


def test_files_that_are_not_there_or_of_another_size(tmp_path):
    with pytest.raises(UserError, match=r"CC BY-NC 4.0 at https://.*/swinB_checkpoint.torch"):
        load(tmp_path / "missing.torch", "swin_b")
    with pytest.raises(UserError, match="no preset 'swin_x'"):
        load(tmp_path / "missing.torch", "swin_x")
    state = formula_weights(published_layout(dataclasses.replace(PRESETS["nano"])))
    torch.save(state, tmp_path / "nano.torch")
    with pytest.raises(UserError, match="do not fit this Omnivore"):
        load(tmp_path / "nano.torch", "swin_t")
    torch.save({"trunk.unheard": torch.zeros(1)}, tmp_path / "other.torch")
    with pytest.raises(UserError, match="no published layout"):
        load(tmp_path / "other.torch", "swin_t")


def test_colours_alone_skip_disparity_and_disparity_alone_passes_zeros_through_colours(tiny):
    x = torch.randn(1, 3, 1, 20, 20)
    still = torch.cat([x, torch.zeros(1, 1, 1, 20, 20)], 1)
    assert not torch.allclose(tiny.tokens(x), tiny.tokens(still), atol=1e-3)  # bias and norm of the embedding
    empty = tiny.tokens(torch.zeros(1, 4, 1, 20, 20))
    torch.testing.assert_close(
        empty, tiny.rgb(torch.zeros(1, 3, 1, 20, 20)) + tiny.depth(torch.zeros(1, 1, 1, 20, 20))
    )
    torch.testing.assert_close(tiny(x[:, :, 0], "image"), tiny(x, "image"))


def test_inflated_weights_keep_a_scene_that_stands_still():
    flat = OmnivoreConfig(dim=8, depths=(2,), num_heads=(2,), window=(1, 3, 3), patch=(1, 4, 4), depth_input=False,
                          heads=(HeadConfig(kind="image", classes=3),))  # fmt: skip
    deep = dataclasses.replace(flat, window=(4, 3, 3), patch=(2, 4, 4))
    image, video = Omnivore(flat).eval(), Omnivore(deep).eval()
    with torch.no_grad():
        for parameter in image.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    video.load_state_dict(inflate(image.state_dict(), deep))
    x = torch.randn(1, 3, 1, 24, 20)
    still = x.expand(-1, -1, 16, -1, -1)
    torch.testing.assert_close(video(still, "image"), image(x, "image"), atol=1e-5, rtol=1e-5)


def test_every_weight_gets_a_gradient_from_its_kind():
    network = Omnivore(PRESETS["nano"])
    loss = network(torch.randn(2, 3, 4, 32, 32), "video").square().sum()
    loss = loss + network(torch.randn(2, 4, 1, 32, 32), "rgbd").square().sum()
    loss = loss + network(torch.randn(2, 3, 16, 16), "image").square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_init_sets_every_weight():
    network = Omnivore(PRESETS["nano"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    network.init_weights()
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())
    assert float(network.heads["image"][1].weight.detach().std()) == pytest.approx(0.01, rel=0.1)


def test_settings_and_inputs_that_cannot_be(tiny):
    assert OmnivoreConfig.from_dict(PRESETS["swin_b_epic"].to_dict()) == PRESETS["swin_b_epic"]
    with pytest.raises(UserError, match="needs depth_input=True"):
        dataclasses.replace(PRESETS["nano"], depth_input=False)
    with pytest.raises(UserError, match="each kind has at most one"):
        dataclasses.replace(PRESETS["nano"], heads=(HeadConfig(kind="image", classes=2),) * 2)
    with pytest.raises(UserError, match="equal length"):
        dataclasses.replace(PRESETS["nano"], depths=(1,))
    with pytest.raises(UserError, match="must be image, video or rgbd"):
        HeadConfig(kind="sound", classes=2)
    with pytest.raises(ValueError, match="expected \\(B, 3 or 4, T, H, W\\)"):
        tiny.features(torch.zeros(1, 2, 1, 8, 8))
    epic = Omnivore(
        dataclasses.replace(PRESETS["nano"], depth_input=False, heads=PRESETS["swin_b_epic"].heads)
    )
    with pytest.raises(ValueError, match="no embedding of disparity"):
        epic.features(torch.zeros(1, 4, 1, 8, 8))
    with pytest.raises(UserError, match="no head for image: it has video"):
        epic(torch.zeros(1, 3, 1, 8, 8), "image")
