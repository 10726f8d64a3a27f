"""The recipe: what a batch is, that the loss falls, that a run resumes to the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch

from kinema import hub
from kinema.errors import UserError
from kinema.systems.movie_gen.upsampler import recipe as room
from kinema.systems.movie_gen.upsampler.artefacts import Artefacts, through_codec
from kinema.systems.movie_gen.upsampler.frames import FrameCodec
from kinema.systems.movie_gen.upsampler.model import Upsampler, preset
from kinema.systems.movie_gen.upsampler.parts import load_parts
from kinema.systems.movie_gen.upsampler.recipe import (
    ODDS,
    Batch,
    UpsamplerSource,
    finish_stage,
    measure,
    new_parts,
    recipe,
    upsampler_loss,
    upsampler_stage,
)
from kinema.systems.movie_gen.video.parts import load_parts as load_video
from kinema.train import BatchIndex, read_metrics, run_stages
from tests.systems.movie_gen.upsampler.conftest import TINY, smooth_clips


def index(start, count):
    return BatchIndex(step=start // count, microbatch=0, indices=range(start, start + count))


@pytest.fixture(scope="module")
def artefacts():
    return Artefacts.of(load_video(hub.find("movie-gen-video-nano").nano_path))


@pytest.fixture(scope="module")
def source(artefacts):
    torch.manual_seed(0)
    codec = FrameCodec(8, 12)
    return UpsamplerSource(codec, Upsampler(TINY), artefacts, pool=2)


def test_batches_are_pure_in_the_indices(source, artefacts):
    whole = source(index(4, 8))
    assert whole.latent.shape == whole.condition.shape == (8, 12, 4, 6, 6)
    assert whole.pixels.shape == whole.enlarged.shape == (8, 3, 4, 48, 48)
    torch.testing.assert_close(source.codec.encode(whole.pixels), whole.latent)  # the same places
    torch.testing.assert_close(source.codec.encode(whole.enlarged), whole.condition)
    again = UpsamplerSource(source.codec, Upsampler(TINY), artefacts, pool=2)
    parts = [again(index(first, 4)) for first in (8, 4)][::-1]  # another order, another process
    assert torch.equal(torch.cat([p.latent for p in parts]), whole.latent)
    torch.testing.assert_close(torch.cat([p.condition for p in parts]), whole.condition)


def test_every_kind_of_condition_looks_like_its_clip_and_none_is_the_clip(source):
    large, clean = source.pair(0, kind="clean")
    assert large.shape == (1, 3, 16, 128, 128)
    for kind in ODDS:
        again, small = source.pair(0, kind=kind)
        assert torch.equal(again, large)
        assert small.min() >= -1
        assert small.max() <= 1
        error = (room.enlarged(small, 128, 128) - large).square().mean()
        assert 1e-5 < error < 0.25
        if kind != "clean":
            assert error > (room.enlarged(clean, 128, 128) - large).square().mean()


def test_regenerating_from_later_stays_nearer(artefacts):
    clips = room.WorldClips(spec=room.WORLD).pixels([3])
    texts = room.training_texts(room.WorldClips(spec=room.WORLD).scenes([3]), [3])
    plain = through_codec(artefacts.parts.codec, clips, 0.0, torch.Generator())
    errors = []
    for start in (0.95, 0.6, 0.2):
        made = artefacts.regenerated(clips, texts, start, 2, 1.5, torch.Generator().manual_seed(0))
        errors.append((made - plain).square().mean())
    assert errors[0] < errors[1] < errors[2]


def overfitting_stage(parts, steps, make=upsampler_stage, **changes):
    with torch.no_grad():
        latent = parts.codec.encode(smooth_clips(4, 4, 24, seed=5))
    condition = latent + 0.5 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    pixels, enlarged = smooth_clips(4, 4, 24, seed=5), smooth_clips(4, 4, 24, seed=5) * 0.9
    batch = Batch(latent, condition, pixels, enlarged)
    stage = make(parts, lambda index: batch, steps=steps)
    stage.batch_size, stage.compile, stage.warmup_steps, stage.log_every = 4, False, 2, 1
    for name, value in changes.items():
        setattr(stage, name, value)
    return stage


def test_the_loss_falls(parts):
    stage = overfitting_stage(parts, 60)
    batch = stage.batches(index(0, 4))
    parts.upsampler.measure(batch.latent, batch.condition, torch.ones(12))

    def held() -> float:
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            return sum(float(upsampler_loss(parts.upsampler, batch, generator)[0]) for _ in range(8)) / 8

    before = held()
    optimiser = torch.optim.AdamW(parts.upsampler.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        optimiser.zero_grad()
        upsampler_loss(parts.upsampler, batch, generator)[0].backward()
        optimiser.step()
    assert held() < 0.7 * before


def test_the_finish_takes_noise_away(parts, tmp_path):
    torch.nn.init.zeros_(parts.upsampler.transformer.final.out.weight)
    parts.upsampler.unit.fill_(0.3)
    stage = overfitting_stage(parts, 60, finish_stage, lr=1e-2)
    run_stages([stage], tmp_path, precision="fp32")
    last = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert last["train/squared"] < 0.6 * last["train/squared_before"]
    assert not any(parameter.requires_grad for parameter in parts.upsampler.parameters())


def test_a_run_that_stopped_ends_in_the_same_weights(parts, tmp_path):
    other = copy.deepcopy(parts)
    run_stages([overfitting_stage(parts, 6)], tmp_path / "whole", precision="fp32")
    first = overfitting_stage(other, 6, checkpoint_every=3)
    seen = first.batches

    def stops(at):
        if at.step == 4:
            raise KeyboardInterrupt
        return seen(at)

    first.batches = stops
    with pytest.raises(BaseException):  # noqa: B017  however the loop hands the interruption on
        run_stages([first], tmp_path / "cut", precision="fp32")
    first.batches = seen
    run_stages([first], tmp_path / "cut", precision="fp32")
    for name, value in parts.upsampler.state_dict().items():
        assert torch.equal(value, other.upsampler.state_dict()[name]), name


def test_the_recipe_runs_and_its_file_loads(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "POOL", 2)
    monkeypatch.setattr(room, "measure", lambda parts, source: measure(parts, source, count=2))
    made = recipe(seed=3)
    assert [stage.name for stage in made.stages] == ["upsampler", "finish"]
    for stage in made.stages:
        assert stage.batch_size % room.CROPS == 0
        stage.steps, stage.warmup_steps, stage.batch_size, stage.compile = 1, 0, 4, False
        stage.batches.pool = 2
    run_stages(made.stages, tmp_path)
    (tmp_path / "final").mkdir(exist_ok=True)
    loaded = load_parts(made.finish(tmp_path / "final"))
    assert loaded.upsampler.config == preset("nano")
    assert loaded.finish.convs[0].weight.abs().max() > 0
    assert float(loaded.upsampler.unit.std()) > 0


def test_what_the_recipe_does_not_take(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        recipe(data=tmp_path)
    with pytest.raises(UserError, match="the preset '7b' needs"):
        new_parts("7b")
