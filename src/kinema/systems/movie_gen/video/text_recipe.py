"""Nano's text encoder: a byte-level tokeniser and a small transformer, aligned with what the Small World looks like.

about 6 minutes on one core
"""

from __future__ import annotations

from kinema.systems.movie_gen.video.tags import training_texts
from kinema.text.alignment import AlignedText, alignment_loss
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer
from kinema.train import BatchIndex, Stage
from kinema.world import atlas
from kinema.world.scene import Scene, WorldSpec, sample_scene

SPEC = WorldSpec(
    vocabulary="full", actor_odds=(0.6, 0.28, 0.12), static_camera=0.3, fps=(8.0, 8.0, 8.0, 12.0)
)
NANO_SPEC = WorldSpec(
    vocabulary="nano", actor_odds=(0.6, 0.28, 0.12), static_camera=0.3, fps=(8.0, 8.0, 8.0, 12.0)
)


def corpus() -> list[str]:
    """What the tokeniser learns its merges from: captions, and every object's name and tags."""
    scenes = [sample_scene("train", i, SPEC) for i in range(12_000)]
    captions = training_texts(scenes, range(len(scenes)))
    names = [f"{a.name} {' '.join(a.tags)}" for a in atlas.artworks() for _ in range(4)]
    return captions + names


def new_text_encoder(config: NanoTextConfig | None = None) -> NanoTextEncoder:
    """Train the tokeniser (seconds) and build the encoder on it."""
    config = config or NanoTextConfig()
    return NanoTextEncoder(config, train_tokenizer(corpus(), config.vocabulary_size))


def text_batch(index: BatchIndex) -> tuple[list[str], list[Scene]]:
    """Captions with their scenes; half of them of the nano vocabulary."""
    scenes = [sample_scene("train", i, NANO_SPEC if i % 3 else SPEC) for i in index.indices]
    return training_texts(scenes, index.indices), scenes


def text_stage(aligned: AlignedText, steps: int = 1200, batch_size: int = 128) -> Stage:
    """The training stage of the text encoder."""
    return Stage(
        name="text",
        model=aligned,
        loss=alignment_loss,
        batches=text_batch,
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=80,
        log_every=50,
        checkpoint_every=500,
    )
