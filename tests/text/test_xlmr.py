"""XLM-R: transformers' states, three layouts of torchtext, lengths, tokens."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from kinema.errors import UserError
from kinema.nn.counting import count_parameters
from kinema.text.xlmr import XLMR_KEYS, XLMR_PRESETS, XlmrConfig, XlmrEncoder, XlmrTokens, load_xlmr
from tests.parity import assert_parity, peer
from tests.shaken import shaken

NANO = XLMR_PRESETS["nano"]
IDS = torch.tensor([[0, 7, 400, 2], [0, 9, 2, 1]])
MASK = IDS != 1
LAYER = {  # ours -> torchtext's newest, older
    "attention.output.dense": ("self_attn.out_proj", "attention.output_projection"),
    "attention.output.LayerNorm": ("norm1", "attention_layer_norm"),
    "intermediate.dense": ("linear1", "residual_mlp.mlp.0"),
    "output.dense": ("linear2", "residual_mlp.mlp.3"),
    "output.LayerNorm": ("norm2", "final_layer_norm"),
}


def torchtext(
    state: dict[str, torch.Tensor], layout: str, depth: int, prefix: str = ""
) -> dict[str, torch.Tensor]:
    """A state of ours under one of torchtext's three ways to name it."""
    layers = {"new": "layers.layers.{}", "between": "layers.{}.better_transformer", "old": "layers.{}"}[
        layout
    ]
    out = {
        "token_embedding.weight": state["embeddings.word_embeddings.weight"],
        "positional_embedding.embedding.weight": state["embeddings.position_embeddings.weight"],
    }
    for end in ("weight", "bias"):
        out[f"embedding_layer_norm.{end}"] = state[f"embeddings.LayerNorm.{end}"]
        for i in range(depth):
            start, ours = layers.format(i), f"encoder.layer.{i}"
            parts = [state[f"{ours}.attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            joint = f"attention.input_projection.{end}" if layout == "old" else f"self_attn.in_proj_{end}"
            out[f"{start}.{joint}"] = torch.cat(parts)
            for name, theirs in LAYER.items():
                out[f"{start}.{theirs[layout == 'old']}.{end}"] = state[f"{ours}.{name}.{end}"]
    return {prefix + name: value for name, value in out.items()}


@torch.no_grad()
def test_states_equal_transformers() -> None:
    peer("transformers")
    from transformers import XLMRobertaConfig, XLMRobertaModel

    theirs = shaken(
        XLMRobertaModel(
            XLMRobertaConfig(
                vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                max_position_embeddings=34, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1,
            ),
            add_pooling_layer=False,
        )
    )  # fmt: skip
    theirs.embeddings.token_type_embeddings.weight.zero_()
    ours = XlmrEncoder(NANO).eval()
    state = {k: v for k, v in theirs.state_dict().items() if "token_type" not in k and "_ids" not in k}
    ours.load_state_dict(state, strict=True)
    expected = theirs(IDS, attention_mask=MASK.long()).last_hidden_state
    states = ours(IDS, MASK)
    assert_parity(states.embeds[MASK], expected[MASK])
    assert states.embeds[1, 3].eq(0).all()
    assert torch.equal(ours.pooled(IDS, MASK), states.embeds[:, 0])


@pytest.mark.parametrize("layout", ["new", "between", "old"])
@pytest.mark.parametrize("prefix", ["", "encoder.transformer.", "text_encoder.encoder.transformer."])
def test_torchtexts_layouts(layout: str, prefix: str) -> None:
    network = XlmrEncoder(NANO)
    state = network.state_dict()
    kept, dropped = XLMR_KEYS.convert(torchtext(state, layout, NANO.depth, prefix), state, "file")
    assert kept.keys() == state.keys()
    assert not dropped
    assert all(torch.equal(kept[name], state[name]) for name in state)


def test_the_full_sizes() -> None:
    counts = {}
    for name in ("base", "large"):
        with torch.device("meta"):
            network = XlmrEncoder(XLMR_PRESETS[name])
        counts[name] = count_parameters(network)
        assert network.max_tokens == 512
    words = {name: 250_002 * XLMR_PRESETS[name].dim for name in counts}
    assert {name: round((counts[name] - words[name]) / 1e6) for name in counts} == {"base": 85, "large": 303}


def test_files_tokens_and_lengths(tmp_path) -> None:
    network = XlmrEncoder(NANO)
    state = {f"roberta.{name}": value for name, value in network.state_dict().items()}
    save_file({**state, "roberta.pooler.dense.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    loaded = load_xlmr(NANO, tmp_path, lambda text, limit: [0, *map(int, text.split()), 2][:limit])
    assert torch.equal(
        loaded.encoder.layer[1].output.dense.weight, network.encoder.layer[1].output.dense.weight
    )
    states = loaded.encode(["7 400", "9"])
    torch.testing.assert_close(states.embeds, loaded(IDS, MASK).embeds)
    with pytest.raises(UserError, match="cut the text"):
        loaded(torch.zeros(1, 33, dtype=torch.long), torch.ones(1, 33, dtype=torch.bool))
    with pytest.raises(UserError, match="no tokeniser"):
        network.encode(["7"])
    with pytest.raises(UserError, match="no room"):
        XlmrConfig(dim=8, depth=1, num_heads=1, hidden=8, positions=3)


def test_pieces_are_moved_by_one(tmp_path) -> None:
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    with (tmp_path / "bpe.model").open("wb") as file:
        trainer.train(
            sentence_iterator=iter(["a red fox runs", "the fox rises and runs"] * 8), model_writer=file, vocab_size=40,
            minloglevel=2, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=False,
        )  # fmt: skip
    read = XlmrTokens(tmp_path / "bpe.model", vocabulary_size=100)
    ids = read("a fox", 20)
    assert (ids[0], ids[-1]) == (0, 2)
    assert min(ids[1:-1]) >= 4
    assert 3 in read("☃", 20)
    assert read("a red fox runs", 3)[-1] == 2
    assert len(read("a red fox runs", 3)) == 3
    with pytest.raises(UserError, match="knows 5"):
        XlmrTokens(tmp_path / "bpe.model", vocabulary_size=5)
    with pytest.raises(UserError, match="no tokeniser"):
        XlmrTokens(tmp_path / "other.model")
