"""The two published layouts: complete, strict, and of the size that the 1.3B model has."""

import dataclasses

import pytest
import torch

from kinema.errors import UserError
from kinema.systems.movie_gen.video.wan.config import PRESETS
from kinema.systems.movie_gen.video.wan.keys import diffusers_name, load_state, our_names, to_diffusers
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from tests.systems.movie_gen.video.wan.conftest import build_peer

SIZES = {"1.3b": 1_418_996_800, "14b": 14_288_491_584}


def published_layout(dim: int, depth: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Wan 2.1 text-to-video file, written down by hand."""
    linear = {
        "text_embedding.0": (dim, 4096),
        "text_embedding.2": (dim, dim),
        "time_embedding.0": (dim, 256),
        "time_embedding.2": (dim, dim),
        "time_projection.1": (6 * dim, dim),
        "head.head": (64, dim),
    }
    shapes: dict[str, tuple[int, ...]] = {"head.modulation": (1, 2, dim)}
    for i in range(depth):
        for attention in ("self_attn", "cross_attn"):
            for name in "qkvo":
                linear[f"blocks.{i}.{attention}.{name}"] = (dim, dim)
            shapes[f"blocks.{i}.{attention}.norm_q.weight"] = (dim,)
            shapes[f"blocks.{i}.{attention}.norm_k.weight"] = (dim,)
        linear[f"blocks.{i}.ffn.0"], linear[f"blocks.{i}.ffn.2"] = (hidden, dim), (dim, hidden)
        shapes[f"blocks.{i}.norm3.weight"] = shapes[f"blocks.{i}.norm3.bias"] = (dim,)
        shapes[f"blocks.{i}.modulation"] = (1, 6, dim)
    for name, shape in {**linear, "patch_embedding": (dim, 16, 1, 2, 2)}.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


@pytest.mark.parametrize("name", ["1.3b", "14b"])
def test_the_published_layout_is_consumed_whole(name: str) -> None:
    config = PRESETS[name]
    shapes = published_layout(config.dim, config.depth, config.hidden)
    with torch.device("meta"):
        model = WanTransformer(config)
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert len(state) == 15 + 27 * config.depth
    load_state(model, state)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"Wan 2.1 {name}: {count / 1e9:.3f} billion parameters")
    assert count == sum(torch.Size(shape).numel() for shape in shapes.values()) == SIZES[name]


@pytest.mark.parametrize("name", ["1.3b", "14b"])
def test_the_layout_of_diffusers_is_consumed_whole(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        model, theirs = WanTransformer(config), build_peer(config)
    state = theirs.state_dict()
    load_state(model, state)
    back = to_diffusers(model.state_dict())
    assert {key: value.shape for key, value in back.items()} == {
        key: value.shape for key, value in state.items()
    }
    assert sum(value.numel() for value in state.values()) == SIZES[name]


def test_round_trip_through_diffusers_names(wan: WanTransformer) -> None:
    state = wan.state_dict()
    other = WanTransformer(wan.config)
    load_state(other, to_diffusers(state))
    for key, value in other.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("layout", ["wan", "diffusers"])
def test_missing_unknown_and_misshapen_keys_are_named(wan: WanTransformer, layout: str) -> None:
    state = dict(wan.state_dict())
    state = to_diffusers(state) if layout == "diffusers" else state
    ffn = diffusers_name("blocks.1.ffn.2.bias") if layout == "diffusers" else "blocks.1.ffn.2.bias"

    def less() -> dict:
        return {key: value for key, value in state.items() if key != ffn}

    with pytest.raises(UserError, match=f"1 missing, such as '{ffn}'"):
        load_state(wan, less())
    with pytest.raises(UserError, match=f"1 unknown, such as '{ffn}x' .*closest known are {ffn}"):
        load_state(wan, {**state, f"{ffn}x": state[ffn]})
    with pytest.raises(UserError, match=r"1 missing.*1 unknown"):
        load_state(wan, {**less(), f"{ffn}x": state[ffn]})
    with pytest.raises(UserError, match=r"blocks\.1\.ffn\.2\.bias is \(3,\) and should be \(40,\)"):
        load_state(wan, {**state, ffn: torch.zeros(3)})


def test_layouts_do_not_mix(wan: WanTransformer) -> None:
    """norm3 is a name in Wan's layout and none in that of diffusers: it must not slip through there."""
    state = to_diffusers(wan.state_dict())
    del state["blocks.0.norm2.weight"]
    state["blocks.0.norm3.weight"] = wan.state_dict()["blocks.0.norm3.weight"]
    with pytest.raises(UserError, match=r"1 missing, such as 'blocks\.0\.norm2\.weight'; 1 unknown"):
        load_state(wan, state)


def test_other_depths_and_other_models_are_refused(wan: WanTransformer) -> None:
    deeper = WanTransformer(dataclasses.replace(wan.config, depth=3)).state_dict()
    with pytest.raises(UserError, match="27 unknown"):
        load_state(wan, deeper)
    with pytest.raises(UserError, match="holds no transformer of Wan"):
        our_names(["double_blocks.0.img_attn.qkv.weight"], wan.state_dict(), "flux.safetensors")
    with pytest.raises(UserError, match="also takes pictures"):
        our_names([*wan.state_dict(), "img_emb.proj.0.weight"], wan.state_dict(), "i2v.safetensors")
    for name in ("blocks.0.norm2.weight", "modulation", "head.head", "blocks.0.modulation.bias", "blocks.q"):
        with pytest.raises(UserError, match="not the name"):
            diffusers_name(name)
