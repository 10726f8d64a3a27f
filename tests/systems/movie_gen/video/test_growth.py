"""From one size to the next: buckets of the world, the held-out loss, and a model that goes on at a larger size."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from kinema.data import MediaDataset, open_dataset
from kinema.data.buckets import PRESETS
from kinema.errors import UserError
from kinema.media import Video
from kinema.systems.movie_gen.video.growth import grow, grown_on_folder, grown_on_world, reach
from kinema.systems.movie_gen.video.parts import load_parts, save_parts
from kinema.systems.movie_gen.video.pipeline import MovieGenVideo
from kinema.systems.movie_gen.video.recipe import NANO_WORLD, video_loss
from kinema.systems.movie_gen.video.sources import BucketedFolder, BucketedWorld, find_buckets, one_size
from kinema.systems.movie_gen.video.validation import HeldOutLoss, fixed_times, world_clips
from kinema.train import Stage, read_metrics, run_stages
from kinema.world.batches import WorldClips

CLIPS = WorldClips(spec=NANO_WORLD, split="val", num_frames=8, height=16, width=16)
SHORT = {"steps": 3, "batch_size": 2, "warmup_steps": 1, "compile": False, "prefetch": 0, "checkpoint_every": 1,
         "validate_every": 1, "log_every": 1}  # fmt: skip


def place(step, batch_size=2, **division):
    stage = Stage(name="x", model=None, loss=None, batches=None, steps=99, batch_size=batch_size, **division)
    return stage.microbatch(step, 0, rank=0, world=1, seed=0)


# ---- sources ------------------------------------------------------------------------------------------------


def test_world_buckets_have_their_shapes_and_the_scenes_own_rates():
    source = BucketedWorld(NANO_WORLD, find_buckets("nano"), picture_every=5, seed=2)
    seen = set()
    for step in range(1, 60):
        if step % 5:
            batch = source(place(step, 1))
            bucket, _ = source.order(step)
            assert batch.pixels.shape[0] == len(batch.texts) == source.buckets.per_sample(bucket)
            seen.add((*batch.pixels.shape[2:],))
            assert all(text.startswith(("FPS-8", "FPS-12")) for text in batch.texts)
    assert seen == {(e.num_frames, e.height, e.width) for e in PRESETS["nano"].all}
    pictures = source(place(5, 1)).pixels
    assert pictures.shape[2] == 1
    assert len(pictures) == 4 * source.buckets.per_sample(source.order(5)[0])


def test_world_buckets_are_divided_exactly():
    source = BucketedWorld(NANO_WORLD, find_buckets("nano"))
    stage = Stage(name="x", model=None, loss=None, batches=None, steps=9, batch_size=2, accumulation=1)
    for step in (0, 1, 7):
        whole = source(place(step))
        halves = [source(stage.microbatch(step, 0, rank=rank, world=2, seed=0)) for rank in (0, 1)]
        assert torch.equal(torch.cat([half.pixels for half in halves]), whole.pixels)
        assert halves[0].texts + halves[1].texts == whole.texts


def test_unknown_buckets_and_turns_are_refused(parts):
    with pytest.raises(
        UserError, match=r"buckets 'nano' hold clips of 16x64x64 .* these weights reach 8x16x16"
    ):
        find_buckets("nano", reach(parts))
    with pytest.raises(UserError, match="there are no buckets 'x'; there are movie-gen-256"):
        find_buckets("x")
    with pytest.raises(UserError, match="2 turns for 10 buckets"):
        BucketedWorld(NANO_WORLD, find_buckets("nano"), turns=[1, 2])


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(3):
        Video(np.full((12, 16, 16, 3), 80 * number, np.uint8), 9.0).write(root / f"{number}.mp4")
        (root / f"{number}.txt").write_text(f"clip {number}")
    return root


def test_a_folders_clips_carry_their_own_rate(folder):
    batch = BucketedFolder(open_dataset(folder), one_size(16, 16, 12))(place(0, 3))
    assert sorted(batch.texts) == ["FPS-9: clip 0", "FPS-9: clip 1", "FPS-9: clip 2"]
    assert batch.pixels.shape == (3, 3, 12, 16, 16)


# ---- the held-out loss --------------------------------------------------------------------------------------


def test_times_follow_the_training_law():
    times = fixed_times(4096).double()
    assert torch.equal(fixed_times(64), fixed_times(64))
    logits = torch.logit(times)
    assert logits.mean().abs() < 1e-3
    assert logits.std() == pytest.approx(1.0, abs=0.01)


def test_the_held_out_loss_depends_on_the_weights_alone(parts):
    loss = HeldOutLoss(parts, world_clips(CLIPS, 6), chunk=4)
    first = loss(parts.transformer)["fm_loss"]
    torch.manual_seed(5)
    assert loss(parts.transformer)["fm_loss"] == first
    whole = HeldOutLoss(parts, world_clips(CLIPS, 6), chunk=6)(parts.transformer)["fm_loss"]
    assert whole == pytest.approx(first, rel=1e-5)
    silent = copy.deepcopy(parts.transformer)
    with torch.no_grad():
        silent.final.out.weight.zero_()
        silent.final.out.bias.zero_()
        latents = parts.codec.encode(CLIPS.pixels(range(6)))
    # Without a word the loss is the target's power: that of the data and, independent of it, of the noise.
    expected = float(latents.square().mean()) + 1.0
    assert loss(silent)["fm_loss"] == pytest.approx(expected, rel=0.1)


def test_training_clips_are_no_held_out_clips():
    with pytest.raises(UserError, match="wants unseen clips"):
        world_clips(WorldClips(spec=NANO_WORLD))


# ---- growth -------------------------------------------------------------------------------------------------


def test_a_grown_model_keeps_what_it_knows(parts):
    before = copy.deepcopy(parts.transformer)
    assert reach(parts) == (8, 16, 16)
    assert grow(parts, 24, 12) == (12, 24, 24)
    assert parts.transformer.config.grid == (6, 6, 6)
    assert MovieGenVideo(copy.deepcopy(parts)).max_size == (12, 24, 24)
    for name, value in before.state_dict().items():
        new = parts.transformer.state_dict()[name]
        if name.startswith("positions."):
            assert torch.allclose(new[[0, -1]], value[[0, -1]])  # the picture's edges stay its edges
        else:
            assert torch.equal(new, value)
    # The old size, seen with positions that are interpolated back, is the old velocity.
    states = parts.read(["a red fox"])
    x, t = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.4])
    with torch.no_grad():
        old, back = before(x, t, states), parts.transformer.grown((4, 4, 4))(x, t, states)
        corner = parts.transformer(x, t, states)
    assert torch.isfinite(corner).all()
    assert (back - old).square().mean() < 0.02 * old.square().mean()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 8}, "size is 8 and these weights already reach 16"),
        ({"num_frames": 4}, "num_frames is 4"),
        ({"size": 18}, "size is 18 and must be a multiple of 8: try 24"),
        ({"num_frames": 9}, "num_frames is 9 and must be a multiple of 2: try 10"),
        ({"size": 16}, "already reach 8 frames of 16x16"),
        ({}, "already reach 8 frames of 16x16"),
    ],
)
def test_what_is_no_growth_is_refused(parts, arguments, words):
    before = parts.transformer
    with pytest.raises(UserError, match=words):
        grow(parts, **arguments)
    assert parts.transformer is before


def grown_run(make_parts, out, steps=3, **settings):
    parts = make_parts()
    grow(parts, 24)
    stage = grown_on_world(parts, video_loss(parts), NANO_WORLD, held_out=3, **{**SHORT, **settings})
    stage.batches = halting(stage.batches, steps)
    try:
        run_stages([stage], out, device="cpu", precision="fp32", progress=False)
    except InterruptedError:
        return None
    return parts


def halting(batches, steps):
    def wrapped(index):
        if index.step == steps:
            raise InterruptedError
        return batches(index)

    return wrapped


def test_the_stage_watches_the_held_out_loss_and_resumes_exactly(make_parts, tmp_path):
    # A threshold that nothing meets: every validation after the first halves the rate.
    harsh = {"plateau_threshold": 10.0, "plateau_patience": 0}
    straight = grown_run(make_parts, tmp_path / "a", **harsh)
    assert grown_run(make_parts, tmp_path / "b", steps=2, **harsh) is None
    resumed = grown_run(make_parts, tmp_path / "b", **harsh)
    for name, value in straight.transformer.state_dict().items():
        assert torch.equal(resumed.transformer.state_dict()[name], value)
    logs = [read_metrics(tmp_path / run / "metrics.jsonl") for run in "ab"]
    losses = [[record["val/fm_loss"] for record in log] for log in logs]
    assert losses[0] == losses[1]
    assert all(np.isfinite(losses[0]))
    assert [record["train/lr"] for record in logs[0]] == pytest.approx([6e-4, 6e-4, 3e-4])
    save_parts(straight, tmp_path / "grown.safetensors")
    (clip,) = MovieGenVideo(load_parts(tmp_path / "grown.safetensors")).generate(
        ["a fox"], seeds=[1], steps=2
    )
    assert clip.video.frames.shape == (8, 24, 24, 3)


def test_a_small_folder_is_watched_by_its_training_loss(parts, folder, tmp_path):
    grow(parts, 24)
    stage = grown_on_folder(parts, video_loss(parts), folder, **{**SHORT, "steps": 1, "warmup_steps": 0})
    assert (stage.validate, stage.plateau_metric) == (None, None)
    assert parts.prompt_style == "free"
    run_stages([stage], tmp_path / "run", device="cpu", progress=False)


def test_of_a_large_folder_some_clips_are_held_out(parts, folder, monkeypatch):
    monkeypatch.setattr("kinema.systems.movie_gen.video.growth.FEW_CLIPS", 3)
    monkeypatch.setattr(MediaDataset, "split", lambda self, part, *rest: self.part(
        self.samples[:1] if part == "heldout" else self.samples[1:]
    ))  # fmt: skip
    stage = grown_on_folder(parts, video_loss(parts), folder, **SHORT)
    assert sum(stage.batches.clips.counts) == 2
    assert np.isfinite(stage.validate(parts.transformer, None)["fm_loss"])
