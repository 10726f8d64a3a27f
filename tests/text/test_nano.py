"""The small text encoder: padding does not count, every parameter is set, and its lesson can be learnt."""

from __future__ import annotations

import pytest
import torch

from kinema.text.alignment import AlignedText, alignment_loss
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer
from kinema.world.captions import caption
from kinema.world.scene import WorldSpec, sample_scene

SCENES = [sample_scene("train", index, WorldSpec(vocabulary="nano")) for index in range(24)]
CAPTIONS = [caption(scene) for scene in SCENES]
CONFIG = NanoTextConfig(vocabulary_size=400, dim=24, depth=2, num_heads=2, hidden=32, max_tokens=24)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CAPTIONS, CONFIG.vocabulary_size)


@pytest.fixture
def encoder(tokenizer):
    torch.manual_seed(0)
    return NanoTextEncoder(CONFIG, tokenizer)


def test_a_prompt_alone_equals_the_prompt_in_a_padded_batch(encoder):
    prompts = ["a fox", "", CAPTIONS[0] + ", " + CAPTIONS[1], "a balloon rises"]
    together = encoder.encode(prompts)
    for row, prompt in enumerate(prompts):
        alone = encoder.encode([prompt])
        length = alone.embeds.shape[1]
        assert together.mask[row].sum() == length
        assert (together.embeds[row, :length] - alone.embeds[0]).abs().max() < 1e-5


def test_words_and_their_order_count(encoder):
    first, second, other = encoder.encode(["fox and cat", "cat and fox", "fox and dog"]).embeds.mean(1)
    assert (first - second).abs().max() > 1e-3
    assert (first - other).abs().max() > 1e-3


def test_states_are_as_wide_and_as_long_as_promised(encoder):
    states = encoder.encode([" ".join(CAPTIONS), ""])
    assert states.embeds.shape == (2, encoder.max_tokens, encoder.dim) == (2, 24, 24)
    assert states.mask.sum(1).tolist() == [24, 1]
    assert not states.embeds.requires_grad
    assert encoder.states(["a fox"]).embeds.requires_grad


def test_init_sets_every_parameter(tokenizer):
    with torch.device("meta"):
        encoder = NanoTextEncoder(CONFIG, tokenizer)
    encoder.to_empty(device="cpu")
    for tensor in [*encoder.parameters(), *encoder.buffers()]:
        tensor.data.fill_(float("nan"))
    encoder.init_weights()
    assert all(tensor.isfinite().all() for tensor in [*encoder.parameters(), *encoder.buffers()])
    assert encoder.encode(["a fox"]).embeds.isfinite().all()


def test_settings_survive_json():
    assert NanoTextConfig.from_dict(CONFIG.to_dict()) == CONFIG


def test_what_captions_look_like_can_be_learnt(encoder):
    model = AlignedText(encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    generator = torch.Generator()
    losses = []
    for _ in range(40):
        loss, logs = alignment_loss(model, (CAPTIONS, SCENES), generator)
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        # The heads are thrown away: what is learnt must reach the encoder.
        assert all(parameter.grad is not None for parameter in encoder.parameters())
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert float(logs["background_accuracy"]) > 0.9
    assert 0 <= float(logs["look_error"]) < 1
