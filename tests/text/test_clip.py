"""CLIP text towers: equal to their peers, in both published layouts of keys, strict, and longer when asked."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from kinema.errors import UserError
from kinema.text.clip import (
    CLIP_KEYS,
    CLIP_PRESETS,
    ClipTextConfig,
    ClipTextEncoder,
    load_clip,
    stretch_positions,
)
from kinema.text.encoder import TextEncoder
from kinema.weights import check_fit
from tests.parity import assert_parity, peer

NANO = CLIP_PRESETS["nano"]
POSITIONS = "text_model.embeddings.position_embedding.weight"
SIZES = {  # without the projection
    "openai-vit-l-14": 123_060_480,
    "laion-vit-bigg-14": 693_021_440,
    "metaclip-vit-bigg-14": 693_021_440,
}


def characters(prompt: str, limit: int) -> list[int]:
    return [*[510, *(ord(letter) % 500 for letter in prompt)][: limit - 1], 511]


def shaken(model):
    """Random weights that leave no norm at one and no bias at zero."""
    if not next(model.parameters()).is_meta:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def from_transformers(config: ClipTextConfig):
    transformers = peer("transformers")
    return shaken(
        transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=config.vocabulary_size, hidden_size=config.dim, intermediate_size=config.hidden,
                num_hidden_layers=config.depth, num_attention_heads=config.num_heads,
                max_position_embeddings=config.max_tokens, hidden_act=config.activation, eos_token_id=511,
            )
        )
    )  # fmt: skip


def from_open_clip(config: ClipTextConfig):
    transformer = peer("open_clip").transformer
    quick = config.activation == "quick_gelu"
    return shaken(
        transformer.TextTransformer(
            context_length=config.max_tokens, vocab_size=config.vocabulary_size, width=config.dim,
            heads=config.num_heads, layers=config.depth, mlp_ratio=config.hidden / config.dim,
            output_dim=config.dim, output_tokens=True,
            act_layer=transformer.QuickGELU if quick else torch.nn.GELU,
        )
    )  # fmt: skip


def batch():
    ids = torch.randint(0, 500, (2, NANO.max_tokens))
    return ids, torch.arange(NANO.max_tokens) < torch.tensor([[NANO.max_tokens], [7]])


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return shaken(ClipTextEncoder(NANO, characters))


def saved(tmp_path, state):
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.detach().clone() for name, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_parity_with_transformers(tmp_path, activation, prefix):
    config = dataclasses.replace(NANO, activation=activation)
    model = from_transformers(config)
    bare = {name.removeprefix("text_model."): tensor for name, tensor in model.state_dict().items()}
    extras = {
        "logit_scale": torch.zeros(()),
        "text_projection.weight": torch.zeros(4, 32),
        "vision_model.pre_layrnorm.weight": torch.zeros(3),
        f"{prefix}embeddings.position_ids": torch.arange(32)[None],
    }
    file = saved(tmp_path, {prefix + name: tensor for name, tensor in bare.items()} | extras)
    ours = load_clip(config, file, characters)
    ids, mask = batch()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        got = ours(ids, mask)
    assert_parity(got.embeds[mask], expected[mask])
    assert not got.embeds[~mask].any()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("prefix", ["text.", ""])
def test_parity_with_open_clip(tmp_path, activation, prefix):
    config = dataclasses.replace(NANO, activation=activation)
    model = from_open_clip(config)
    extras = {"logit_scale": torch.zeros(()), "visual.class_embedding": torch.zeros(3)}
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()} | extras
    ours = load_clip(config, saved(tmp_path, state), characters)
    ids, mask = batch()
    with torch.no_grad():
        _, expected = model(ids)
    assert_parity(ours(ids, mask).embeds[mask], expected[mask])


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("make", [from_transformers, from_open_clip])
def test_published_layout_and_size(name, make):
    config = CLIP_PRESETS[name]
    with torch.device("meta"):
        ours = ClipTextEncoder(config)
        published = make(config).state_dict()
    assert sum(parameter.numel() for parameter in ours.parameters()) == SIZES[name]
    own = ours.state_dict()
    kept, dropped = CLIP_KEYS.convert(published, own, "file")
    check_fit(own, kept, "file", "ClipTextEncoder")
    assert set(dropped) <= {"text_projection"}


def test_the_open_clip_shapes_are_those_of_its_own_presets():
    get = peer("open_clip").get_model_config
    for preset, name in (
        ("openai-vit-l-14", "ViT-L-14-quickgelu"),
        ("laion-vit-bigg-14", "ViT-bigG-14"),
        ("metaclip-vit-bigg-14", "ViT-bigG-14-quickgelu"),
    ):
        published, config = get(name), CLIP_PRESETS[preset]
        text = published["text_cfg"]
        assert (text["width"], text["layers"], text["heads"]) == (config.dim, config.depth, config.num_heads)
        assert (text["context_length"], text["vocab_size"]) == (config.max_tokens, config.vocabulary_size)
        assert published.get("quick_gelu", False) == (config.activation == "quick_gelu")


def test_files_that_do_not_fit_are_refused(tmp_path):
    state = from_open_clip(NANO).state_dict()
    fused = "transformer.resblocks.1.attn.in_proj_weight"
    missing = {name: tensor for name, tensor in state.items() if name != fused}
    with pytest.raises(
        UserError, match=r"3 are missing \(text_model.encoder.layers.1.self_attn.k_proj.weight"
    ):
        load_clip(NANO, saved(tmp_path, missing), characters)
    for extra in ("transformer.resblocks.2.ln_1.weight", "cls_emb", "positional_embedding_res"):
        with pytest.raises(UserError, match="1 is unexpected"):
            load_clip(NANO, saved(tmp_path, state | {extra: torch.zeros(32)}), characters)
    with pytest.raises(UserError, match=r"3 have another shape .+is \(2, 32\) and should be \(32, 32\)"):
        load_clip(NANO, saved(tmp_path, state | {fused: torch.zeros(6, 32)}), characters)
    with pytest.raises(UserError, match="3 equal parts"):
        load_clip(NANO, saved(tmp_path, state | {fused: torch.zeros(7, 32)}), characters)
    with pytest.raises(UserError, match=r"is \(40, 32\) and should be \(32, 32\)"):
        load_clip(NANO, saved(tmp_path, state | {"positional_embedding": torch.zeros(40, 32)}), characters)


def test_padding_does_not_change_visible_states(encoder):
    prompts = ["a fox", "", "a red balloon rises over the sea", "x" * 900]
    together = encoder.encode(prompts)
    assert together.mask.sum(1).tolist() == [7, 2, 32, 32]
    assert not together.embeds[~together.mask].any()
    for row, prompt in enumerate(prompts):
        alone = encoder.encode([prompt])
        assert (together.embeds[row, : alone.embeds.shape[1]] - alone.embeds[0]).abs().max() < 1e-5


def test_tokens_do_not_see_those_behind_them(encoder):
    first, second = encoder.encode(["a fox runs", "a fox eats"]).embeds
    assert torch.equal(first[:7], second[:7])
    assert (first[7:] - second[7:]).abs().max() > 1e-3


def test_it_is_a_text_encoder(encoder):
    offered: TextEncoder = encoder
    assert (offered.dim, offered.max_tokens) == (32, 32)
    assert encoder.encode([]).embeds.shape == (0, 0, 32)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        ClipTextEncoder(NANO).encode(["a fox"])
    with pytest.raises(UserError, match="33 tokens"):
        encoder(torch.zeros(1, 33, dtype=torch.long), torch.ones(1, 33, dtype=torch.bool))


def test_positions_stretch_as_in_long_clip():
    torch.manual_seed(0)
    table = torch.randn(77, 3, dtype=torch.float64)
    long = stretch_positions(table, 248)
    assert torch.equal(long[:20], table[:20])
    # From the 20th on every step is a quarter of an old one, and behind the last old row it goes on as it came.
    for quarter in range(4):
        expected = table[20:76] + quarter / 4 * (table[21:] - table[20:76])
        assert torch.allclose(long[20 + quarter : 244 : 4], expected)
        assert torch.allclose(long[244 + quarter], table[76] + quarter / 4 * (table[76] - table[75]))
    line = torch.arange(77.0)[:, None]
    longer = stretch_positions(line, 256)
    assert longer.shape == (256, 1)
    assert torch.allclose(longer[20:].diff(dim=0), torch.full((235, 1), 57 / 236), atol=1e-5)
    assert torch.equal(stretch_positions(table, 77), table)
    for length, keep in ((60, 20), (256, 76), (256, -1)):
        with pytest.raises(UserError, match="77 positions"):
            stretch_positions(table, length, keep)


def test_a_grown_tower_reads_further_and_leaves_the_old_one_alone(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    grown = encoder.grown(100)
    assert grown.max_tokens == grown.config.max_tokens == 100
    assert grown.encode(["x" * 900]).embeds.shape == (1, 100, 32)
    # Prompts within the positions that stayed are read as before.
    assert torch.equal(grown.encode(["a small fox"]).embeds, encoder.encode(["a small fox"]).embeds)
    with torch.no_grad():
        for parameter in grown.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_a_long_tower_loads_from_its_own_file(tmp_path, encoder):
    grown = encoder.grown(48)
    file = saved(tmp_path, grown.state_dict())
    loaded = load_clip(dataclasses.replace(NANO, max_tokens=48), file, characters)
    assert torch.equal(loaded.encode(["x" * 900]).embeds, grown.encode(["x" * 900]).embeds)
    with pytest.raises(UserError, match=POSITIONS.replace(".", r"\.")):
        load_clip(NANO, file, characters)


def test_init_sets_every_parameter():
    with torch.device("meta"):
        encoder = ClipTextEncoder(NANO, characters)
    encoder.to_empty(device="cpu")
    for tensor in [*encoder.parameters(), *encoder.buffers()]:
        tensor.data.fill_(float("nan"))
    encoder.init_weights()
    assert all(tensor.isfinite().all() for tensor in [*encoder.parameters(), *encoder.buffers()])
    assert encoder.encode(["a fox"]).embeds.isfinite().all()


def test_bfloat16_runs(tmp_path, encoder):
    half = load_clip(NANO, saved(tmp_path, encoder.state_dict()), characters, dtype=torch.bfloat16)
    difference = half.encode(["a fox"]).embeds.float() - encoder.encode(["a fox"]).embeds
    assert difference.abs().mean() < 0.05


def test_settings():
    assert ClipTextConfig.from_dict(NANO.to_dict()) == NANO
    with pytest.raises(UserError, match=r"no preset .* of CLIP; the closest are"):
        load_clip("ViT-L/14", "nowhere", characters)
    for wrong in ({"num_heads": 5}, {"activation": "relu"}, {"max_tokens": 1}):
        with pytest.raises(UserError):
            dataclasses.replace(NANO, **wrong)
