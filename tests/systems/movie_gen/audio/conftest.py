"""A sound system of a few thousand weights: every part of the real one at toy widths, around a framing codec."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from kinema.codecs.latents import LatentSpec
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.model import AudioTransformerConfig, MovieGenAudioTransformer
from kinema.systems.movie_gen.audio.parts import AudioParts
from kinema.systems.movie_gen.audio.visual import FrameNet, FrameNetConfig
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.states import TextStates
from kinema.text.tokenizer import train_tokenizer

RATE, HOP, CHANNELS = 16000, 640, 8  # 25 latent frames a second
CORPUS = ["this audio has quality: 8.0.", "metal impacts over waves", "a fox growls twice"] * 3
FRAMES = FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12)
CONFIG = AudioTransformerConfig(
    dim=32, depth=2, num_heads=4, hidden=48, latent_channels=CHANNELS, visual_dim=12, text_dim=16, max_frames=20,
    qk_norm=True, frame_age=True,
)  # fmt: skip


class FramingCodec(nn.Module):
    """A latent frame is the means of CHANNELS pieces of HOP samples; decoding repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(rate=RATE, hop=HOP)
        self.spec = LatentSpec((HOP, 1, 1), CHANNELS, std=0.1)

    def encode(self, sound: Tensor) -> Tensor:
        padded = nn.functional.pad(sound, (0, -sound.shape[2] % HOP))
        raw = padded[:, 0].unflatten(1, (-1, CHANNELS, HOP // CHANNELS)).mean(3).transpose(1, 2)
        return self.spec.normalise(raw)

    def decode(self, latent: Tensor, samples: int) -> Tensor:
        raw = self.spec.denormalise(latent).transpose(1, 2).flatten(1)  # (B, N*C)
        assert -(-samples // HOP) == latent.shape[2]
        return raw.repeat_interleave(HOP // CHANNELS, 1)[:, None, :samples].clamp(-1, 1)


def stirred(module: nn.Module, seed: int = 1) -> nn.Module:
    """Every parameter off its start: zeros would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture
def model() -> MovieGenAudioTransformer:
    torch.manual_seed(0)
    return stirred(MovieGenAudioTransformer(CONFIG))


@pytest.fixture
def parts(model) -> AudioParts:
    text = NanoTextConfig(vocabulary_size=300, dim=16, depth=1, num_heads=2, hidden=24, max_tokens=256)
    return AudioParts(
        codec=FramingCodec(),
        frames=FrameNet(FRAMES),
        text=NanoTextEncoder(text, train_tokenizer(CORPUS, text.vocabulary_size)),
        transformer=model,
    )


@pytest.fixture
def conditions():
    def make(batch: int, frames: int, seed: int = 2, dim: int = 16) -> Conditions:
        generator = torch.Generator().manual_seed(seed)
        return Conditions(
            context=torch.randn(batch, CHANNELS, frames, generator=generator),
            visual=torch.randn(batch, frames, 13, generator=generator),
            seen=torch.ones(batch, frames, dtype=torch.bool),
            text=TextStates(
                torch.randn(batch, 6, dim, generator=generator), torch.ones(batch, 6, dtype=torch.bool)
            ),
        )

    return make
