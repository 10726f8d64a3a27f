"""T5 encoders: equal to their peers, in every published layout of keys, strict, and blind to padding."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from kinema.errors import UserError
from kinema.text.encoder import TextEncoder
from kinema.text.t5 import T5_KEYS, T5_PRESETS, T5Config, T5Encoder, load_t5, relative_buckets
from kinema.weights import check_fit
from tests.parity import assert_parity, peer

NANO = T5_PRESETS["nano"]
# The config.json files of google/ul2, google/t5-v1_1-xxl, google/byt5-small and google/umt5-xxl.
FIELDS = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj")
PUBLISHED = {
    "ul2": (32128, 4096, 256, 16384, 32, 16, "gated-silu"),
    "t5-v1_1-xxl": (32128, 4096, 64, 10240, 24, 64, "gated-gelu"),
    "byt5-small": (384, 1472, 64, 3584, 12, 6, "gated-gelu"),
    "umt5-xxl": (256384, 4096, 64, 10240, 24, 64, "gated-gelu"),
}
# vocabulary * D + blocks * (4 D H d + 3 D hidden + 2 D) + tables 32 H + the last norm D
SIZES = {
    "ul2": 8_721_797_632,
    "t5-v1_1-xxl": 4_762_310_656,
    "byt5-small": 217_657_472,
    "umt5-xxl": 5_680_910_336,
}


def theirs(config: T5Config, published: tuple = ()):
    """The peer with random weights that leave no norm at one."""
    transformers = peer("transformers")
    values = (
        config.vocabulary_size, config.dim, config.head_dim, config.hidden, config.depth, config.num_heads,
        config.feed_forward,
    )  # fmt: skip
    names = dict(zip(FIELDS, published or values))
    kind = "UMT5" if config.bias_in_every_layer else "T5"
    model = getattr(transformers, f"{kind}EncoderModel")(getattr(transformers, f"{kind}Config")(**names))
    if not model.shared.weight.is_meta:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def wan_layout(config: T5Config) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What the modules of wan/modules/t5.py call their tensors, with our name and the shape."""
    inner = config.num_heads * config.head_dim
    table = {
        "token_embedding.weight": ("shared.weight", (config.vocabulary_size, config.dim)),
        "norm.weight": ("encoder.final_layer_norm.weight", (config.dim,)),
    }
    for n in range(config.depth):
        ours, wans = f"encoder.block.{n}.layer", f"blocks.{n}"
        table |= {
            f"{wans}.norm1.weight": (f"{ours}.0.layer_norm.weight", (config.dim,)),
            f"{wans}.attn.q.weight": (f"{ours}.0.SelfAttention.q.weight", (inner, config.dim)),
            f"{wans}.attn.k.weight": (f"{ours}.0.SelfAttention.k.weight", (inner, config.dim)),
            f"{wans}.attn.v.weight": (f"{ours}.0.SelfAttention.v.weight", (inner, config.dim)),
            f"{wans}.attn.o.weight": (f"{ours}.0.SelfAttention.o.weight", (config.dim, inner)),
            f"{wans}.norm2.weight": (f"{ours}.1.layer_norm.weight", (config.dim,)),
            f"{wans}.ffn.gate.0.weight": (f"{ours}.1.DenseReluDense.wi_0.weight", (config.hidden, config.dim)),
            f"{wans}.ffn.fc1.weight": (f"{ours}.1.DenseReluDense.wi_1.weight", (config.hidden, config.dim)),
            f"{wans}.ffn.fc2.weight": (f"{ours}.1.DenseReluDense.wo.weight", (config.dim, config.hidden)),
            f"{wans}.pos_embedding.embedding.weight": (
                f"{ours}.0.SelfAttention.relative_attention_bias.weight", (config.num_buckets, config.num_heads),
            ),
        }  # fmt: skip
    return table


def characters(prompt: str, limit: int) -> list[int]:
    return [*(3 + ord(letter) % 300 for letter in prompt), 1][:limit]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return T5Encoder(NANO, characters)


@pytest.mark.parametrize(
    "changes",
    [
        {"feed_forward": "gated-gelu"},
        {"feed_forward": "relu"},
        {"feed_forward": "gated-silu", "head_dim": 8},
        {"bias_in_every_layer": True},
    ],
    ids=["v1.1", "relu", "ul2", "umt5"],
)
def test_parity_through_the_published_file(tmp_path, changes):
    config = dataclasses.replace(NANO, **changes)
    model = theirs(config)
    state = model.state_dict()
    assert "encoder.embed_tokens.weight" in state  # the duplicate that older files carry
    torch.save(state, tmp_path / "pytorch_model.bin")
    ours = load_t5(config, tmp_path, characters)
    ids = torch.randint(0, config.vocabulary_size, (2, 150))  # beyond the largest bucket
    mask = torch.arange(150) < torch.tensor([[150], [37]])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        got = ours(ids, mask)
    assert_parity(got.embeds[mask], expected[mask], 1e-4)
    assert not got.embeds[~mask].any()


def test_buckets_are_the_peers():
    reference = peer("transformers.models.t5.modeling_t5").T5Attention._relative_position_bucket
    positions = torch.arange(600)
    for buckets, distance in ((32, 128), (16, 64), (64, 300)):
        expected = reference(positions[None] - positions[:, None], True, buckets, distance)
        assert torch.equal(relative_buckets(600, buckets, distance, torch.device("cpu")), expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layout_and_size(name):
    config = T5_PRESETS[name]
    with torch.device("meta"):
        ours = T5Encoder(config)
        published = theirs(config, PUBLISHED[name]).state_dict()
    assert sum(parameter.numel() for parameter in ours.parameters()) == SIZES[name]
    whole = published | {
        "decoder.block.0.layer.1.EncDecAttention.q.weight": torch.empty(1, device="meta"),
        "decoder.embed_tokens.weight": torch.empty(1, device="meta"),
        "lm_head.weight": torch.empty(1, device="meta"),
    }
    embedding = whole.pop("encoder.embed_tokens.weight")
    assert embedding.shape == published["shared.weight"].shape
    own = ours.state_dict()
    kept, dropped = T5_KEYS.convert(whole, own, "file")
    check_fit(own, kept, "file", "T5Encoder")
    assert set(dropped) == whole.keys() - own.keys()
    assert all(len(reason.split()) > 2 for reason in dropped.values())


def test_wans_layout_is_covered():
    config = T5_PRESETS["umt5-xxl"]
    layout = wan_layout(config)
    with torch.device("meta"):
        own = T5Encoder(config).state_dict()
        file = {key: torch.empty(shape) for key, (_, shape) in layout.items()}
    kept, dropped = T5_KEYS.convert(file, own, "file")
    check_fit(own, kept, "file", "T5Encoder")
    assert not dropped
    assert all(kept[name] is file[key] for key, (name, _) in layout.items())


def test_wans_file_loads(tmp_path):
    config = dataclasses.replace(NANO, bias_in_every_layer=True)
    torch.manual_seed(0)
    made = T5Encoder(config, characters)
    state = made.state_dict()
    file = {key: state[name].bfloat16() for key, (name, _) in wan_layout(config).items()}
    torch.save(file, tmp_path / "models_t5_umt5-xxl-enc-bf16.pth")
    loaded = load_t5(config, tmp_path / "models_t5_umt5-xxl-enc-bf16.pth", characters)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name].bfloat16().float())


def saved(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("layout", ["transformers", "wan"])
def test_files_that_do_not_fit_are_refused(tmp_path, layout):
    config = dataclasses.replace(NANO, bias_in_every_layer=True)
    names = {name: name for name in T5Encoder(config).state_dict()}
    if layout == "wan":
        names = {name: key for key, (name, _) in wan_layout(config).items()}
    state = {names[name]: tensor.clone() for name, tensor in T5Encoder(config).state_dict().items()}
    query = names["encoder.block.1.layer.0.SelfAttention.q.weight"]

    missing = {key: tensor for key, tensor in state.items() if key != query}
    with pytest.raises(UserError, match=r"1 is missing \(encoder.block.1.layer.0.SelfAttention.q.weight\)"):
        load_t5(config, saved(tmp_path, missing), characters)
    for extra in (query.replace("1", "7", 1), "encoder.block.0.layer.0.SelfAttention.q.bias", "lora.weight"):
        with pytest.raises(UserError, match="1 is unexpected"):
            load_t5(config, saved(tmp_path, state | {extra: torch.zeros(2)}), characters)
    with pytest.raises(UserError, match=r"is \(3, 3\) and should be \(32, 32\)"):
        load_t5(config, saved(tmp_path, state | {query: torch.zeros(3, 3)}), characters)
    with pytest.raises(UserError, match="not quantised"):
        load_t5(config, saved(tmp_path, state | {query: torch.zeros(32, 32, dtype=torch.int8)}), characters)
    eight = torch.zeros(32, 32).to(torch.float8_e4m3fn)
    with pytest.raises(UserError, match="8 bits"):
        load_t5(config, saved(tmp_path, state | {query: eight}), characters)
    shared_bias = dataclasses.replace(config, bias_in_every_layer=False)
    with pytest.raises(
        UserError, match=r"1 is unexpected \(encoder.block.1.+relative_attention_bias.weight\)"
    ):
        load_t5(shared_bias, saved(tmp_path, state), characters)


def test_one_embedding_under_either_name_and_no_two_different_ones(tmp_path, encoder):
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    only = {re.sub("^shared", "encoder.embed_tokens", name): tensor for name, tensor in state.items()}
    assert torch.equal(load_t5(NANO, saved(tmp_path, only), characters).shared.weight, encoder.shared.weight)
    both = state | {"encoder.embed_tokens.weight": state["shared.weight"] + 1}
    with pytest.raises(UserError, match=r"two different tensors for 'shared\.weight'"):
        load_t5(NANO, saved(tmp_path, both), characters)


def test_padding_does_not_change_visible_states(encoder):
    prompts = ["a fox", "", "a red balloon rises over the sea"]
    together = encoder.encode(prompts)
    assert together.mask.sum(1).tolist() == [len(prompt) + 1 for prompt in prompts]
    assert not together.embeds[~together.mask].any()
    for row, prompt in enumerate(prompts):
        alone = encoder.encode([prompt])
        assert alone.mask.all()
        assert (together.embeds[row, : alone.embeds.shape[1]] - alone.embeds[0]).abs().max() < 1e-5


def test_it_is_a_text_encoder(encoder):
    offered: TextEncoder = encoder
    states = offered.encode(["x" * 1000])
    assert states.embeds.shape == (1, offered.max_tokens, offered.dim) == (1, 64, 32)
    assert not states.embeds.requires_grad
    ids = torch.zeros(1, 3, dtype=torch.long)
    assert encoder(ids, torch.ones(1, 3, dtype=torch.bool)).embeds.requires_grad
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        T5Encoder(NANO).encode(["a fox"])


def test_init_sets_every_parameter():
    with torch.device("meta"):
        encoder = T5Encoder(NANO, characters)
    ids = torch.zeros(1, 4, device="meta", dtype=torch.long)
    assert encoder(ids, ids == 0).embeds.shape == (1, 4, 32)
    encoder.to_empty(device="cpu")
    for tensor in [*encoder.parameters(), *encoder.buffers()]:
        tensor.data.fill_(float("nan"))
    encoder.init_weights()
    assert all(tensor.isfinite().all() for tensor in [*encoder.parameters(), *encoder.buffers()])


def test_bfloat16_is_near_float32_and_float16_is_refused(tmp_path, encoder):
    file = saved(tmp_path, encoder.state_dict())
    half = load_t5(NANO, file, characters, dtype=torch.bfloat16)
    assert half.encode(["a fox"]).embeds.dtype == torch.bfloat16
    difference = half.encode(["a fox"]).embeds.float() - encoder.encode(["a fox"]).embeds
    assert difference.abs().mean() < 0.03
    with pytest.raises(UserError, match="float16"):
        load_t5(NANO, file, characters, dtype=torch.float16)


def test_a_tokenizer_file_and_tidy_prompts(tmp_path, encoder):
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "fox": 4, "&": 5}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    file = saved(tmp_path, encoder.state_dict())
    loaded = load_t5(dataclasses.replace(NANO, tidy_prompts=True), file, tmp_path)
    expected = encoder(torch.tensor([[3, 5, 4, 1]]), torch.ones(1, 4, dtype=torch.bool)).embeds
    assert_parity(loaded.encode([" a &amp;amp;\n fox "]).embeds, expected.detach())


def test_settings():
    assert T5Config.from_dict(NANO.to_dict()) == NANO
    with pytest.raises(UserError, match=r"no preset .* of T5; the closest are umt5-xxl, t5-v1_1-xxl"):
        load_t5("t5-xxl", "nowhere", characters)
    for wrong in ({"feed_forward": "gelu"}, {"num_buckets": 30}, {"max_distance": 8}, {"max_tokens": 0}):
        with pytest.raises(UserError):
            dataclasses.replace(NANO, **wrong)
