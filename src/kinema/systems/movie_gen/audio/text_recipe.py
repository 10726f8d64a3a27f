"""Nano's text encoder for sound: a small transformer aligned with what the Small World sounds like.

The video room's encoder was aligned with pictures and its tokeniser with their captions; words such as "metal impacts"
or the quality's number are nothing to it. One of its size (0.9 M) would also be a quarter of what nano's audio weights
may weigh together, so sound has a smaller one (0.4 M) of its own.
"""

# B batch, L tokens, D width, Q queries

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.systems.movie_gen.audio.captions import CLEAN, NOISY, players, training_text
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer
from kinema.train import BatchIndex, Stage
from kinema.world import atlas
from kinema.world.scene import BACKGROUNDS, MOTIONS, Scene, WorldSpec, sample_scene
from kinema.world.sound.engines import engine_kind
from kinema.world.sound.events import SOUND_CLASSES, onsets, sound_class

CONFIG = NanoTextConfig(vocabulary_size=1024, dim=128, depth=2, num_heads=4, hidden=192, max_tokens=128)
SPEC = WorldSpec(vocabulary="nano", actor_odds=(0.6, 0.28, 0.12))
FULL_SPEC = WorldSpec(vocabulary="full", actor_odds=(0.6, 0.28, 0.12))
QUERIES = 4
MOST = 5  # onsets of one class that are told apart


def is_noisy(number: int) -> bool:
    """Whether the caption with this number speaks of a damaged copy: one in four."""
    return number % 4 == 3


def corpus(scenes: int = 6000) -> list[str]:
    """What the tokeniser learns its merges from: captions of sounds, and the names of things."""
    drawn = [sample_scene("train", i, FULL_SPEC) for i in range(scenes)]
    captions = [training_text(scene, i, is_noisy(i)) for i, scene in enumerate(drawn)]
    return captions + [f"{a.name} {' '.join(a.tags)}" for a in atlas.artworks() for _ in range(4)]


def new_text_encoder(config: NanoTextConfig = CONFIG, scenes: int = 6000) -> NanoTextEncoder:
    """Train the tokeniser (seconds) and build the encoder on it."""
    return NanoTextEncoder(config, train_tokenizer(corpus(scenes), config.vocabulary_size))


class SoundWords(nn.Module):
    """The encoder and its throw-away heads: from the token states, what is heard, how often and where."""

    def __init__(self, encoder: NanoTextEncoder, num_heads: int = 4) -> None:
        super().__init__()
        self.encoder, self.num_heads = encoder, num_heads
        dim = encoder.dim
        self.queries = nn.Parameter(torch.randn(QUERIES, dim) * dim**-0.5)
        self.keys = nn.Linear(dim, dim, bias=False)
        self.values = nn.Linear(dim, dim, bias=False)
        sizes = {
            "counts": len(SOUND_CLASSES) * (MOST + 1),
            "motions": len(MOTIONS),
            "actors": len(atlas.artworks()),
            "bed": len(BACKGROUNDS),
            "quality": 1,
            "music": 1,
        }
        self.heads = nn.ModuleDict({name: nn.Linear(QUERIES * dim, size) for name, size in sizes.items()})

    def forward(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Captions -> one prediction for each head, (B, size)."""
        states = self.encoder.states(captions)
        queries = split_heads(self.queries.expand(len(states), -1, -1), self.num_heads)
        keys, values = (split_heads(f(states.embeds), self.num_heads) for f in (self.keys, self.values))
        pooled = merge_heads(attention(queries, keys, values, states.mask)).flatten(1)  # (B, Q*D)
        return {name: head(pooled) for name, head in self.heads.items()}


def text_batch(index: BatchIndex) -> tuple[list[str], list[Scene], list[int]]:
    """Captions with their scenes and numbers; two thirds of them of the nano vocabulary."""
    scenes = [sample_scene("train", i, SPEC if i % 3 else FULL_SPEC) for i in index.indices]
    texts = [training_text(scene, i, is_noisy(i)) for i, scene in zip(index.indices, scenes, strict=True)]
    return texts, scenes, list(index.indices)


def text_loss(
    model: nn.Module, batch: tuple[list[str], list[Scene], list[int]], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropies of what the captions say; those that say nothing but the quality count for that alone."""
    captions, scenes, numbers = batch
    told = {name: value.float() for name, value in model(captions).items()}
    device = told["bed"].device
    counts = torch.zeros(len(scenes), len(SOUND_CLASSES), dtype=torch.long)
    motions, actors = torch.zeros(len(scenes), len(MOTIONS)), torch.zeros(len(scenes), len(atlas.artworks()))
    for row, scene in enumerate(scenes):
        for event in onsets(scene):
            counts[row, SOUND_CLASSES.index(sound_class(scene, event))] += 1
            if event.kind != "impact":
                actors[row, scene.actors[event.actor].artwork] = 1.0
        for actor in scene.actors:
            motions[row, list(MOTIONS).index(actor.motion)] = 1.0
            if engine_kind(actor):
                actors[row, actor.artwork] = 1.0
    worded = torch.tensor([float("description" in caption) for caption in captions], device=device)
    count_error = F.cross_entropy(
        told["counts"].unflatten(1, (len(SOUND_CLASSES), MOST + 1)).transpose(1, 2),
        counts.clamp(max=MOST).to(device),
        reduction="none",
    ).sum(1)
    motion_error = F.binary_cross_entropy_with_logits(
        told["motions"], motions.to(device), reduction="none"
    ).sum(1)
    actor_error = F.binary_cross_entropy_with_logits(told["actors"], actors.to(device), reduction="none").sum(
        1
    )
    beds = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes], device=device)
    bed_error = F.cross_entropy(told["bed"], beds, reduction="none")
    playing = torch.tensor([float(bool(players(scene))) for scene in scenes], device=device)
    music_error = F.binary_cross_entropy_with_logits(told["music"][:, 0], playing, reduction="none")
    errors = count_error + motion_error + actor_error + bed_error + music_error
    asked = torch.tensor([NOISY if is_noisy(i) else CLEAN for i in numbers], device=device)
    quality_error = (told["quality"][:, 0] - (asked - 6) / 2).square().mean()
    total = (errors * worded).sum() / worded.sum().clamp(min=1.0) + quality_error
    right = (told["bed"].argmax(1) == beds).float()
    logs = {
        "bed_accuracy": (right * worded).sum() / worded.sum().clamp(min=1.0),
        "quality_error": quality_error,
    }
    return total, {name: value.detach() for name, value in logs.items()}


def text_stage(words: SoundWords, steps: int = 1200, batch_size: int = 96) -> Stage:
    """The training stage of the text encoder."""
    return Stage(
        name="text",
        model=words,
        loss=text_loss,
        batches=text_batch,
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=min(80, steps // 2),
        log_every=50,
        checkpoint_every=500,
    )
