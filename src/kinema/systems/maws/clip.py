"""Zero-shot classification by text: a frozen MAWS image tower beside XLM-R, as LiT trains them (2303.13496, section 4).

A class is described by several prompts in any language that XLM-R reads; their mean direction is compared with images.
"""

# B batch, E width of the space that both towers share, L tokens

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.codecs.keymap import rename
from kinema.codecs.vit_keys import timm_rules
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import VisionTransformer
from kinema.settings import named_preset
from kinema.systems.maws.model import MawsConfig, encoder
from kinema.text.tokens import TokenIds
from kinema.text.xlmr import XLMR_KEYS, XLMR_PRESETS, XlmrConfig, XlmrEncoder, xlmr_tokens
from kinema.weights import load_strict, read_weights

MAX_TOKENS: Final = 102  # of a prompt, start and end included, as the released models were trained
_ADDRESS: Final = "https://dl.fbaipublicfiles.com/maws/pretrain/clip/"
TOKENIZER: Final = f"{_ADDRESS}xlmr_tokenizer/xlmr.sentencepiece.bpe.model"
PREPROCESSING: Final = Preprocessing(size=224)  # with ImageNet's statistics, not those of CLIP


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Both towers and the width of the space that they share."""

    vision: MawsConfig
    text: XlmrConfig
    joint_dim: int

    @classmethod
    def preset(cls, name: str) -> ClipConfig:
        """`vit_b16_xlmr_b`, `vit_l16_xlmr_l`, `vit_h14_xlmr_l`, `vit_2b14_xlmr_l` or `nano`."""
        return named_preset(CLIP_PRESETS, name, "MAWS's image and text models")


CLIP_PRESETS: Final = {
    name: ClipConfig(vision=MawsConfig.preset(vision), text=XLMR_PRESETS[text], joint_dim=joint)
    for name, vision, text, joint in (
        ("vit_b16_xlmr_b", "vit_b16", "base", 768),
        ("vit_l16_xlmr_l", "vit_l16", "large", 1024),
        ("vit_h14_xlmr_l", "vit_h14", "large", 1024),
        ("vit_2b14_xlmr_l", "vit_2b14", "large", 2048),
        ("nano", "nano", "nano", 48),
    )
}
ADDRESSES: Final = {name: f"{_ADDRESS}{name}.pt" for name in CLIP_PRESETS if name != "nano"}


class MawsClip(nn.Module):
    """Images and texts as directions in one space of `joint_dim`; equal directions mean the same thing."""

    def __init__(self, vision: VisionTransformer, text: XlmrEncoder, joint_dim: int) -> None:
        super().__init__()
        self.vision, self.text = vision, text
        self.vision_projection = nn.Parameter(torch.empty(vision.dim, joint_dim))
        self.text_projection = nn.Parameter(torch.empty(text.dim, joint_dim))
        self.logit_scale = nn.Parameter(torch.empty(()))  # its logarithm
        if not self.logit_scale.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Towers as they start themselves, projections N(0, 1/width), the scale at 1/0.07."""
        self.vision.init_weights()
        self.text.init_weights()
        for projection in (self.vision_projection, self.text_projection):
            nn.init.normal_(projection, std=len(projection) ** -0.5)
        self.logit_scale.fill_(math.log(1 / 0.07))

    def image_embeds(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> directions (B, E) of length 1."""
        return F.normalize(self.vision.features(images) @ self.vision_projection, dim=1)

    def text_embeds(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) bool, padded at the end -> directions (B, E) of length 1."""
        return F.normalize(self.text.pooled(ids, mask) @ self.text_projection, dim=1)

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Scaled products of every image with every text: (B images, B texts)."""
        return self.logit_scale.exp() * self.image_embeds(images) @ self.text_embeds(ids, mask).T

    @torch.no_grad()
    def class_embeds(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """A direction for each class, (classes, E): the mean of those of its prompts, made length 1 again."""
        if not prompts or not all(prompts):
            raise UserError("each class needs at least one prompt, such as 'a photo of a fox'")
        means = [self.text_embeds(*self.text.tokens(own, MAX_TOKENS)).mean(0) for own in prompts]
        return F.normalize(torch.stack(means), dim=1)

    @torch.no_grad()
    def classify(self, images: Tensor, class_embeds: Tensor) -> Tensor:
        """Probabilities of the classes that `class_embeds` describe: (B, classes)."""
        return (self.logit_scale.exp() * self.image_embeds(images) @ class_embeds.T).softmax(1)


def build(config: ClipConfig, token_ids: TokenIds | None = None) -> MawsClip:
    """Both towers; for training after LiT the image tower is then frozen and the text tower starts from XLM-R."""
    return MawsClip(encoder(config.vision), XlmrEncoder(config.text, token_ids), config.joint_dim)


def convert(state: Mapping[str, Tensor], config: ClipConfig, source: str | Path) -> dict[str, Tensor]:
    """A released state, in any of torchtext's names for the text tower, under ours.

    Raises UserError for a name that no released file has.
    """
    with torch.device("meta"):
        own = XlmrEncoder(config.text).state_dict()
    pictures = {key: value for key, value in state.items() if key.startswith("vision_encoder.")}
    ours = rename(pictures, timm_rules("vision_encoder.", "vision."), source).state
    words = {key: value for key, value in state.items() if key.startswith("text_encoder.")}
    kept, _ = XLMR_KEYS.convert(words, own, source)
    ours |= {f"text.{name}": value for name, value in kept.items()}
    return ours | {key: value for key, value in state.items() if key not in pictures and key not in words}


def load(path: str | Path, name: str, tokenizer: str | Path | TokenIds | None = None) -> MawsClip:
    """The model of a released file that lies at `path`, in eval mode.

    Args:
        name: such as `vit_b16_xlmr_b`; its owner offers the file at `ADDRESSES[name]` under CC-BY-NC 4.0.
        tokenizer: XLM-R's SentencePiece model (`TOKENIZER`) or tokenizer.json, or a function from text to ids; without
            it only pictures can be embedded.

    Raises:
        UserError: `name` is no released model, or a file is missing, damaged, or another one.
    """
    config = ClipConfig.preset(name)
    if isinstance(tokenizer, (str, Path)):
        tokenizer = xlmr_tokens(tokenizer, config.text.vocabulary_size)
    state, _ = read_weights(path)
    with torch.device("meta"):
        model = build(config, tokenizer)
    load_strict(model, convert(state, config, path), path)
    return model.eval()
