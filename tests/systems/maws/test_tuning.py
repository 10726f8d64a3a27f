"""A frozen trunk taught: learned prompts in front of its blocks, and a text tower that learns what it sees."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UserError
from kinema.systems.maws import clip
from kinema.systems.maws.lit import WordTokens, lit_stage
from kinema.systems.maws.model import MawsConfig, encoder
from kinema.systems.maws.vpt import PromptedTransformer, fit_prompts
from kinema.text.xlmr import XlmrConfig
from kinema.train import run_stages
from tests.shaken import draw, shaken

TINY = MawsConfig(
    dim=32, depth=2, num_heads=2, patch=8, image_size=32, decoder_dim=16, decoder_depth=1, decoder_heads=2
)


def test_prompts_that_nobody_looks_at_change_nothing():
    """Keys that are the same everywhere but at the prompts, where attention gives nothing: the trunk's own features."""
    trunk = shaken(encoder(TINY))
    tuned = PromptedTransformer(trunk, num_classes=3, prompts=4)
    images = draw(2, 3, 32, 32)
    assert not torch.allclose(tuned.features(images), trunk.features(images), atol=1e-3)
    for block in trunk.blocks:
        plain = block.attention.forward
        block.attention.forward = lambda x, first=None, plain=plain: without(plain, x)
    torch.testing.assert_close(tuned.features(images), trunk_features(trunk, images))


def without(attention, x):
    """Attention of what is no prompt among itself; zeros for the prompts."""
    own = torch.cat([x[:, :1], x[:, 5:]], 1) if x.shape[1] == 1 + 4 + 16 else x
    out = attention(own)
    return torch.cat(
        [out[:, :1], out.new_zeros(len(x), x.shape[1] - own.shape[1], out.shape[2]), out[:, 1:]], 1
    )


def trunk_features(trunk, images):
    tokens = trunk.embed(images)
    for block in trunk.blocks:
        tokens = block(tokens)
    return trunk.norm(tokens[:, 0])


def test_prompts_learn_while_the_trunk_stands_still():
    trunk = shaken(encoder(TINY))
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    tuned = PromptedTransformer(trunk, num_classes=2)
    images = 0.3 * draw(20, 3, 32, 32)
    images[::2, 0] += 1
    labels = torch.arange(20) % 2
    first = tuned.prompts.detach().clone()
    loss = fit_prompts(tuned, images, labels, steps=25)
    assert loss < 0.3
    assert float((tuned(images).argmax(1) == labels).float().mean()) > 0.9
    assert not torch.equal(first, tuned.prompts)
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    with pytest.raises(UserError, match="as many"):
        fit_prompts(tuned, images, labels[:3])
    with pytest.raises(UserError, match="at least one of each"):
        PromptedTransformer(trunk, 2, prompts=0)


def test_words_are_tokens():
    tokens = WordTokens(
        ["A red fox", "a boat", "a fox"], size=7
    )  # three words and the four that have no letters
    assert tokens("A fox!", 10) == [0, 4, 5, 2]
    assert tokens("a zebra", 10) == [0, 4, 3, 2]
    assert tokens("a fox a fox", 4) == [0, 4, 5, 2]


def test_a_text_tower_learns_what_a_locked_trunk_sees(tmp_path):
    torch.manual_seed(0)
    captions = ["a red thing", "a green thing", "a blue thing"]
    config = clip.ClipConfig(
        vision=TINY,
        text=XlmrConfig(dim=16, depth=1, num_heads=2, hidden=32, vocabulary_size=16, positions=12),
        joint_dim=12,
    )
    model = clip.build(config, WordTokens(captions, 16))
    images = 0.1 * draw(30, 3, 32, 32)
    for colour in range(3):
        images[colour::3, colour] += 1
    with torch.no_grad():
        seen = model.vision.features(images)
    before = {name: value.clone() for name, value in model.vision.state_dict().items()}
    stage = lit_stage(
        model,
        lambda index: (seen[places := [n % 30 for n in index.indices]], [captions[p % 3] for p in places]),
        steps=40,
        batch_size=6,
        lr=3e-3,
    )
    run_stages([stage], tmp_path / "run", device="cpu", progress=False, precision="fp32")
    assert all(torch.equal(before[name], value) for name, value in model.vision.state_dict().items())
    found = model.eval().classify(images, model.class_embeds([[caption] for caption in captions])).argmax(1)
    assert float((found == torch.arange(30) % 3).float().mean()) > 0.9
    with pytest.raises(UserError, match="at least 2"):
        lit_stage(model, lambda index: (seen, captions), steps=1, batch_size=1)
