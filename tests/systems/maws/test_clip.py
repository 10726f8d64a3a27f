"""MAWS beside XLM-R: released layouts, embeddings, classes described by prompts."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UserError
from kinema.systems.maws.clip import ADDRESSES, CLIP_PRESETS, PREPROCESSING, ClipConfig, build, convert, load
from kinema.text.xlmr import XlmrEncoder
from kinema.weights import check_fit
from tests.shaken import draw, shaken
from tests.systems.maws.test_model import published
from tests.text.test_xlmr import torchtext

JOINT = {
    "vit_b16_xlmr_b": 768,
    "vit_l16_xlmr_l": 1024,
    "vit_h14_xlmr_l": 1024,
    "vit_2b14_xlmr_l": 2048,
    "nano": 48,
}


def words(text: str, limit: int) -> list[int]:
    return [0, *(3 + sum(map(ord, word)) % 400 for word in text.split()), 2][:limit]


def layout(config: ClipConfig, names: str) -> dict[str, torch.Tensor]:
    """A released state on the meta device, the text tower in one of torchtext's ways."""
    with torch.device("meta"):
        text = XlmrEncoder(config.text).state_dict()
        state = {
            f"vision_encoder.{key}": torch.empty(shape) for key, shape in published(config.vision).items()
        }
        state |= torchtext(text, names, config.text.depth, "text_encoder.encoder.transformer.")
        return state | {
            "vision_projection": torch.empty(config.vision.dim, config.joint_dim),
            "text_projection": torch.empty(config.text.dim, config.joint_dim),
            "logit_scale": torch.empty(()),
        }


@pytest.mark.parametrize("names", ["new", "old"])
@pytest.mark.parametrize("name", CLIP_PRESETS)
def test_every_released_layout_is_consumed_whole(name: str, names: str) -> None:
    config = ClipConfig.preset(name)
    assert config.joint_dim == JOINT[name]
    with torch.device("meta"):
        model = build(config)
    check_fit(model.state_dict(), convert(layout(config, names), config, name), name, "MawsClip")


def test_a_file_its_tokens_and_its_classes(tmp_path) -> None:
    torch.manual_seed(0)
    config = ClipConfig.preset("nano")
    state = {k: 0.1 * draw(*v.shape, seed=i) for i, (k, v) in enumerate(layout(config, "new").items())}
    torch.save(state, tmp_path / "nano.pt")
    model = load(tmp_path / "nano.pt", "nano", words)
    images = draw(3, 3, 64, 64)
    classes = model.class_embeds([["a red fox", "un renard"], ["a boat"]])
    embeds = model.image_embeds(images)
    torch.testing.assert_close(classes.norm(dim=1), torch.ones(2))
    probabilities = model.classify(images, classes)
    torch.testing.assert_close(probabilities, (state["logit_scale"].exp() * embeds @ classes.T).softmax(1))
    alone = model.text_embeds(*model.text.tokens(["a red fox", "un renard"]))
    torch.testing.assert_close(classes[0], torch.nn.functional.normalize(alone.mean(0), dim=0))
    ids, mask = model.text.tokens(["a boat", "a red fox", "x"])
    torch.testing.assert_close(
        model(images, ids, mask)[:, :1], model.logit_scale.exp() * embeds @ classes[1:].T
    )
    with pytest.raises(UserError, match="at least one prompt"):
        model.class_embeds([["a"], []])
    torch.save({k: v for k, v in state.items() if k != "logit_scale"}, tmp_path / "less.pt")
    with pytest.raises(UserError, match="do not fit"):
        load(tmp_path / "less.pt", "nano", words)


def test_padding_and_other_texts_change_nothing() -> None:
    model = shaken(build(ClipConfig.preset("nano"), words))
    alone = model.text_embeds(*model.text.tokens(["a fox"]))
    beside = model.text_embeds(*model.text.tokens(["a fox", "a very long text about nothing at all"]))
    torch.testing.assert_close(alone[0], beside[0])


def test_addresses_and_statistics() -> None:
    assert len(ADDRESSES) == 4
    assert ADDRESSES["vit_2b14_xlmr_l"].endswith("/pretrain/clip/vit_2b14_xlmr_l.pt")
    assert PREPROCESSING.mean[0] == 0.485
