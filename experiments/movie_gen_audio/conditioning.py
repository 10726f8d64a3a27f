"""Video features added frame by frame against the same features as tokens beside the sound's.

    python experiments/movie_gen_audio/conditioning.py

A transformer of width 128 learns 2-s clips from nothing, on nano's codec and frame features. Three arms: added through
the gate; concatenated along time, one row after the other; concatenated, with both rows at the same positions.
"""

# B batch, C latent channels, N latent frames, D width

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.eval.movie_gen_audio import judged
from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all, scratch
from kinema.nn.positions import rotary
from kinema.systems.movie_gen.audio.clips import WorldSounds
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.model import MovieGenAudioTransformer, Prepared, preset
from kinema.systems.movie_gen.audio.objective import masked_prediction_loss
from kinema.systems.movie_gen.audio.parts import AudioParts
from kinema.systems.movie_gen.audio.recipe import audio_loss
from kinema.systems.movie_gen.audio.sampling import Settings, sample
from kinema.train import Precision, Stage, make_generator, run_stages
from kinema.train.cache import fingerprint
from kinema.world.judges.audio import AudioJudge

from nano import SHARES, held_out, nano

NAME = "conditioning"
SECONDS, CLIPS, BATCH = 2.0, 4000, 32
FIGURES = ("impacts", "error, ms", "material", "background", "held-out loss")
OPEN = 2.0  # the gate of tokens, which need not begin shut: they change nothing until they are attended to


class Concatenated(MovieGenAudioTransformer):
    """Frames as tokens before those of the sound; all layers attend over both."""

    same_positions = False

    def forward(self, latent: Tensor, t: Tensor, conditions: Conditions | Prepared) -> Tensor:
        known = (
            conditions if isinstance(conditions, Prepared) else self.prepare(conditions, keys_values=False)
        )
        both = torch.cat([latent, known.context.to(latent.dtype)], dim=1).transpose(1, 2)
        sound = self.input(both.to(self.input.weight.dtype))
        x = torch.cat([known.added.to(sound.dtype), sound], dim=1)  # (B, 2N, D)
        length, width = latent.shape[2], self.config.head_dim
        positions = rotary(2 * length, width, self.config.theta)
        if self.same_positions:
            cos, sin = rotary(length, width, self.config.theta)
            positions = torch.cat([cos, cos]), torch.cat([sin, sin])
        embedding = self.timestep(t)
        modulation = self.modulation(embedding)
        for i, block in enumerate(self.blocks):
            given = known.keys_values[i] if known.keys_values is not None else None
            x = block(x, modulation, positions, known.source, known.mask, given)
        return self.final(x[:, length:], embedding).transpose(1, 2).to(latent.dtype)


class Aligned(Concatenated):
    """A frame's token at the position of the sound that it is shown with."""

    same_positions = True


ARMS: dict[str, type[MovieGenAudioTransformer]] = {
    "added": MovieGenAudioTransformer,
    "concatenated": Concatenated,
    "concatenated, same positions": Aligned,
}


def new_model(kind: type[MovieGenAudioTransformer], parts: AudioParts, seed: int) -> MovieGenAudioTransformer:
    """1.1 M parameters, the same numbers at the start in every arm but for the gate."""
    torch.manual_seed(seed)
    nano_config = parts.transformer.config
    model = kind(
        preset(
            "nano",
            dim=128,
            depth=4,
            hidden=256,
            latent_channels=nano_config.latent_channels,
            visual_dim=nano_config.visual_dim,
            text_dim=nano_config.text_dim,
        )
    )
    if kind is not MovieGenAudioTransformer:
        torch.nn.init.constant_(model.frames.gate, OPEN)
    return model


def train(
    parts: AudioParts, source: WorldSounds, model: MovieGenAudioTransformer, steps: int, seed: int
) -> None:
    """Train in place as nano's recipe does; the model ends with its averaged weights."""
    stage = Stage(
        name="run",
        model=model,
        loss=audio_loss(parts),
        batches=source,
        steps=steps,
        batch_size=BATCH,
        optimizer="muon",
        lr=3e-3,
        weight_decay=0.1,
        schedule="wsd",
        decay_fraction=0.3,
        warmup_steps=min(50, steps - 1),
        ema_decay=0.98,
        lr_scales={"frames.gate": 25.0},
        checkpoint_every=100_000,
        compile=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    model.eval()


@torch.no_grad()
def score(
    parts: AudioParts, unseen: WorldSounds, model: MovieGenAudioTransformer, seed: int, clips: int, steps: int
) -> dict[str, float]:
    """What the judge hears in sounds made from the video alone, and the loss on clips with all that belongs to them."""
    precision, scenes = Precision.choose("auto", "cpu"), held_out(clips, seed, SECONDS)
    readings, losses = [], list[float]()
    for first in range(0, clips, BATCH):
        batch = unseen.batch(range(first, min(first + BATCH, clips)))
        words = parts.text.encode(batch.texts).padded(parts.text.max_tokens)
        with precision.autocast():
            loss, _ = masked_prediction_loss(
                model, batch.latent, batch.visual, batch.seen, words, make_generator(seed, "held out", first)
            )
        losses.append(loss.item() * len(batch.texts) / clips)
        silent = parts.text.encode([parts_caption() for _ in batch.texts]).padded(parts.text.max_tokens)
        told = Conditions(
            context=torch.zeros_like(batch.latent), visual=batch.visual, seen=batch.seen, text=silent
        )
        noise = torch.randn(batch.latent.shape, generator=make_generator(seed, "noise", first))
        latent = sample(model, told, noise, Settings(steps=steps, precision=precision.autocast))
        readings += AudioJudge.load().read(parts.codec.decode(latent, round(SECONDS * 48000)))
    found = judged(readings, scenes)
    return {
        "impacts": found["impacts"]["f1"],
        "error, ms": found["impacts"]["error_ms"],
        "material": found["material"]["share"],
        "background": found["bed"]["share"],
        "held-out loss": sum(losses),
    }


def parts_caption() -> str:
    """The text of a sound of which nothing is said."""
    pipeline, _ = nano()
    return pipeline.caption("")


class Unseen(WorldSounds):
    """Held-out clips of a seed, as the judge is asked about them."""

    def __init__(self, parts: AudioParts, seed: int, clips: int) -> None:
        super().__init__(
            parts.codec,
            parts.frames,
            seconds=SECONDS,
            scenes=clips,
            noisy=0,
            split="val",
            frame_age=parts.transformer.config.frame_age,
        )
        self.chosen = held_out(-(-clips // 8) * 8, seed, SECONDS)

    def scene(self, number: int) -> Any:
        return self.chosen[number]


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps, clips, train_clips, solver = (3, 8, 32, 2) if given.quick else (1200, 128, CLIPS, 8)
    parts = nano()[0].parts
    frozen = "-".join(fingerprint(part)[:12] for part in (parts.codec, parts.frames, parts.text))
    source = WorldSounds(
        parts.codec,
        parts.frames,
        seconds=SECONDS,
        scenes=train_clips,
        noisy=0,
        folder=None if given.quick else scratch() / "sounds",
        frame_age=parts.transformer.config.frame_age,
    )
    settings = {
        "steps": steps,
        "batch": BATCH,
        "clips": train_clips,
        "judged": clips,
        "solver_steps": solver,
        "frozen": frozen,
    }

    def run(kind: type[MovieGenAudioTransformer], seed: int) -> Callable[[], dict[str, float]]:
        def do() -> dict[str, float]:
            model = new_model(kind, parts, seed)
            train(parts, source, model, steps, seed)
            return score(parts, Unseen(parts, seed, clips), model, seed, clips, solver)

        return do

    runs, spent = run_all(
        NAME,
        given,
        [
            Run(arm, seed, settings, run(kind, seed))
            for seed in range(given.seeds)
            for arm, kind in ARMS.items()
        ],
    )
    arms = summary(runs)
    print(table(arms, FIGURES, SHARES))
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "arms": arms},
        lambda figure: bars(figure, arms, ("impacts", "error, ms", "material", "held-out loss"), {}),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
