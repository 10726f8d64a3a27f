"""The sound codec's recipe: its data, the game inside one stage, and a run that resumes to the same numbers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.codecs import DacVAE, DacVAEConfig, load_codec
from kinema.codecs.dac_discriminators import DiscriminatorConfig
from kinema.errors import UserError
from kinema.media import Sound
from kinema.systems.movie_gen.audio import codec_recipe as room
from kinema.systems.movie_gen.audio.codec_recipe import (
    SoundSource,
    adversarial_stage,
    codec_stage,
    recordings,
)
from kinema.train import BatchIndex, run_stages

TINY = DacVAEConfig(
    rate=16000, latent_channels=4, rates=(2, 4), encoder_widths=(16, 12, 12), trunk=12, decoder_widths=(16, 12, 16),
    frame=16,
)  # fmt: skip
JUDGES = DiscriminatorConfig(
    periods=(3,), period_widths=(4, 4), windows=(128,), band_width=2, bands=((0.0, 1.0),)
)


def index(start: int, count: int) -> BatchIndex:
    return BatchIndex(step=start // count, microbatch=0, indices=range(start, start + count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings: stereo at another rate, and one shorter than a piece."""
    place = tmp_path / "real"
    (place / "below").mkdir(parents=True)
    time = np.arange(44100, dtype=np.float32) / 44100
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time)
    Sound(np.stack([tone, tone]).astype(np.float32), 44100).write(place / "tone.wav")
    Sound(tone[None, :900].astype(np.float32), 44100).write(place / "below" / "short.flac")
    return place


def test_batches_are_pure_in_the_indices(folder: Path) -> None:
    source = SoundSource(rate=16000, crop=4000, folder=folder, real_share=0.5)
    whole = source(index(4, 8))
    assert whole.shape == (8, 1, 4000)
    assert whole.dtype == torch.float32
    assert whole.abs().amax() <= 1
    again = SoundSource(rate=16000, crop=4000, folder=folder, real_share=0.5)
    parts = [again(index(first, 4)) for first in (8, 4)][::-1]
    assert torch.equal(torch.cat(parts), whole)
    world = SoundSource(rate=16000, crop=4000)(index(4, 8))
    shared = [bool(torch.equal(a, b)) for a, b in zip(world, whole)]
    assert 0 < sum(shared) < 8  # some are recordings, the others the world's very pieces


def test_recordings_are_mixed_resampled_and_filled_up(folder: Path) -> None:
    source = SoundSource(rate=16000, crop=2000, folder=folder, real_share=1.0)
    pieces = source.sounds(range(12))
    peaks = torch.fft.rfft(pieces[:, 0] * torch.hann_window(2000)).abs().argmax(-1) * 8  # Hz
    assert all(abs(int(peak) - 1000) <= 60 for peak in peaks)
    silent = (pieces == 0).float().mean((1, 2))
    assert (silent > 0.5).any()  # the short one, with silence around it
    assert (silent < 0.1).any()
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"there are 0 \.wav or \.flac"):
        recordings(folder / "empty")


def test_a_longer_piece_than_a_scene_is_the_world_going_on() -> None:
    pieces = SoundSource(rate=16000, crop=3 * 16000).sounds([0])
    assert pieces.shape == (1, 1, 48000)
    assert pieces[..., 40000:].abs().max() > 0


def stages(source: SoundSource, game: str = "least_squares") -> list:
    torch.manual_seed(0)
    codec = DacVAE(TINY)
    first = codec_stage(codec, source, steps=4, batch_size=2)
    second = adversarial_stage(codec, source, steps=4, batch_size=2, config=JUDGES, game=game)
    for stage in (first, second):
        stage.validate, stage.prefetch, stage.checkpoint_every, stage.log_every = None, 0, 2, 1
        stage.warmup_steps = 1
    return [first, second]


class Stopped(Exception):
    pass


def test_a_killed_game_resumes_to_the_same_codec_and_discriminators(tmp_path: Path) -> None:
    source = SoundSource(rate=16000, crop=2400)
    whole = stages(source)
    run_stages(whole, tmp_path / "whole", seed=3, device="cpu", precision="fp32")
    parts = stages(source)

    def until(limit: int):
        def batches(at: BatchIndex):
            if at.step >= limit:
                raise Stopped
            return source(at)

        return batches

    parts[1].batches = until(3)  # past the checkpoint of step 2
    with pytest.raises(Stopped):
        run_stages(parts, tmp_path / "parts", seed=3, device="cpu", precision="fp32")
    again = stages(source)
    run_stages(again, tmp_path / "parts", seed=3, device="cpu", precision="fp32")
    for ours, theirs in zip(whole, again):
        state = theirs.model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in ours.model.state_dict().items())


@pytest.mark.parametrize("game", ["least_squares", "hinge"])
def test_both_players_learn(game: str, tmp_path: Path) -> None:
    first, second = stages(SoundSource(rate=16000, crop=2400), game)
    before = copy.deepcopy(second.model.state_dict())
    report = run_stages([second], tmp_path, device="cpu", precision="fp32")
    moved = {
        name.split(".")[0]
        for name, value in second.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"codec", "discriminators"}
    assert {"train/mel", "train/generator", "train/discriminator", "train/features"} <= report[
        "codec_game"
    ].metrics.keys()
    assert second.model.codec is first.model  # what is trained is what was passed in


def test_spectra_are_learnt() -> None:
    torch.manual_seed(0)
    codec = DacVAE(TINY)
    sound = SoundSource(rate=16000, crop=2400).sounds(range(4))
    optimizer = torch.optim.Adam(codec.parameters(), 3e-3)
    losses = []
    for step in range(30):
        loss, logs = room.codec_loss(codec, sound, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(logs["mel"].detach()))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_recipe_ends_in_a_file_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = room.recipe(config=TINY)
    assert [stage.name for stage in made.stages] == ["codec", "codec_game"]
    monkeypatch.setattr(
        room, "finish_statistics", lambda codec, source: codec.fit_statistics([torch.rand(1, 1, 2560)])
    )
    codec = load_codec(made.finish(tmp_path))
    assert isinstance(codec, DacVAE)
    assert not codec.config.weight_norm
    assert float(codec.spec.std.min()) != 1.0
    scores = room.fidelity(codec, count=2, batch=2)
    assert scores["mel"] > 0
    assert scores.keys() == {"mel", "si_sdr"}


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(room, "run_stages", lambda stages, out, **rest: seen.update(stages=stages, out=out))
    monkeypatch.setattr(
        room,
        "recipe",
        lambda folder, build=room.recipe: room.Recipe(
            stages=build(folder, TINY).stages, finish=lambda final: final
        ),
    )
    assert room.main(["--out", str(tmp_path / "run"), "--set", "codec.steps=7"]) == 0
    assert [stage.steps for stage in seen["stages"]] == [7, 3200]
