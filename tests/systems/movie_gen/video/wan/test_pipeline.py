"""From prompts to clips: diffusers' transformer driven by hand beside ours, the step cache, and what is refused."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.flow.solvers import euler, heun
from kinema.systems.movie_gen.video.wan.cache import StepCache
from kinema.systems.movie_gen.video.wan.files import load_transformer, save_transformer
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.systems.movie_gen.video.wan.pipeline import WanVideo, default_shift, schedule, solve
from kinema.text.states import TextStates
from kinema.train.precision import Precision
from tests.parity import assert_parity, peer
from tests.systems.movie_gen.video.wan.conftest import TINY


class Words:
    """A text encoder: each word has a random vector of its own."""

    def encode(self, prompts: Sequence[str]) -> TextStates:
        words = [["<s>", *prompt.split()] for prompt in prompts]
        length = max(map(len, words))
        embeds = torch.zeros(len(prompts), length, TINY.text_dim)
        mask = torch.zeros(len(prompts), length, dtype=torch.bool)
        for row, prompt in enumerate(words):
            for column, word in enumerate(prompt):
                generator = torch.Generator().manual_seed(sum(word.encode()))
                embeds[row, column] = torch.randn(TINY.text_dim, generator=generator)
                mask[row, column] = True
        return TextStates(embeds, mask)


class Nearest:
    """A codec with Wan's strides."""

    def decode(self, latent: Tensor) -> Tensor:
        frames = 4 * (latent.shape[2] - 1) + 1
        size = (frames, 8 * latent.shape[3], 8 * latent.shape[4])
        return torch.nn.functional.interpolate(latent[:, :3], size=size).tanh()


@pytest.fixture
def pipeline(wan: WanTransformer) -> WanVideo:
    return WanVideo(wan, Words(), Nearest(), "fp32")


def test_six_guided_steps_equal_diffusers_driven_by_hand(pair) -> None:
    """Two passes a step and the text embedded each time, as its pipeline does."""
    ours, theirs = pair
    prompts, negative = ["a red fox jumps", "rain"], "blur and noise"
    noise = torch.randn(2, 4, 3, 4, 6, generator=torch.Generator().manual_seed(5))
    words = Words()

    def padded(texts: Sequence[str]) -> Tensor:
        return words.encode(texts).padded(TINY.text_tokens).embeds

    scheduler = peer("diffusers").FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, 7)[:-1])
    latent = noise
    with torch.inference_mode():
        for timestep in scheduler.timesteps:
            at = timestep.expand(2)
            conditional = theirs(latent, at, padded(prompts), return_dict=False)[0]
            plain = theirs(latent, at, padded([negative] * 2), return_dict=False)[0]
            guided = plain + 5.0 * (conditional - plain)
            latent = scheduler.step(guided, timestep, latent, return_dict=False)[0]
    sampled = WanVideo(ours, words, Nearest(), "fp32").sample(
        prompts, noise, steps=6, guidance_scale=5.0, shift=3.0, negative_prompt=negative, solver=euler
    )
    assert sampled.cache is None
    assert_parity(sampled.latent, latent, 1e-4 * float(latent.abs().max()))


def test_the_default_solver_is_that_of_diffusers_pipeline(pair) -> None:
    """UniPC on flow sigmas, as Wan's scheduler configuration says; their first noise level is a shade below 1."""
    ours, theirs = pair
    noise = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    words, steps = Words(), 6
    embeds = words.encode(["a red fox jumps"]).padded(TINY.text_tokens).embeds
    scheduler = peer("diffusers").UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    scheduler.set_timesteps(steps)
    times = 1 - scheduler.sigmas.double()
    latent = noise
    with torch.inference_mode():
        for timestep, time in zip(scheduler.timesteps, times, strict=False):
            output = theirs(latent, 1000 * (1 - time[None].float()), embeds, return_dict=False)[0]
            latent = scheduler.step(output, timestep, latent, return_dict=False)[0]
    sampled = solve(ours, words.encode(["a red fox jumps"]), noise, times, 1.0, Precision.choose("fp32"))
    assert_parity(sampled.latent, latent, 2e-4 * float(latent.abs().max()))


def test_clips_have_the_asked_size_and_follow_their_seed(pipeline: WanVideo) -> None:
    settings = {"steps": 3, "height": 32, "width": 48, "num_frames": 9, "fps": 12.0}
    one, two = pipeline.generate(["a cat", "a tall dog"], seeds=[1, 2], **settings)
    assert one.video.frames.shape == (9, 32, 48, 3)
    assert one.video.fps == 12.0
    assert one.video.frames.std() > 1
    together = pipeline.generate(["a tall dog", "a cat"], seeds=[2, 1], batch=2, **settings)
    for alone, beside in ((one, together[1]), (two, together[0])):
        difference = alone.video.frames.astype(int) - beside.video.frames.astype(int)
        assert np.abs(difference).max() <= 1
    other = pipeline.generate(["a cat"], seeds=[3], **settings)[0]
    assert np.abs(other.video.frames.astype(int) - one.video.frames.astype(int)).max() > 10
    assert pipeline.generate([], seeds=[]) == []


def test_guidance_and_negative_prompt_do_something_and_steps_are_told(pipeline: WanVideo) -> None:
    noise, told = torch.randn(1, 4, 1, 4, 4), []
    plain = pipeline.sample(["a cat"], noise, 3, 1.0, on_step=lambda done, _: told.append(done)).latent
    assert told == [1, 2, 3]
    guided = pipeline.sample(["a cat"], noise, 3, 4.0).latent
    away = pipeline.sample(["a cat"], noise, 3, 4.0, negative_prompt="a dog").latent
    assert (guided - plain).abs().max() > 1e-2
    assert (guided - away).abs().max() > 1e-2


def test_offloaded_blocks_make_the_same_clip(pipeline: WanVideo, tmp_path) -> None:
    save_transformer(pipeline.transformer, tmp_path / "mine.safetensors")
    streamed = load_transformer(tmp_path / "mine.safetensors", offload="file")
    settings = {"steps": 3, "height": 16, "width": 16, "num_frames": 5}
    whole = pipeline.generate(["a cat"], seeds=[1], **settings)[0]
    other = WanVideo(streamed, Words(), Nearest(), "fp32").generate(["a cat"], seeds=[1], **settings)[0]
    assert np.abs(whole.video.frames.astype(int) - other.video.frames.astype(int)).max() <= 1


def test_step_cache_reports_what_it_saved_and_what_it_changed(pipeline: WanVideo, caplog) -> None:
    noise = torch.randn(2, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    prompts = ["a cat", "rain"]
    exact = pipeline.sample(prompts, noise, 12, solver=euler).latent
    none = pipeline.sample(prompts, noise, 12, cache=0.0, solver=euler, measure_cache=True)
    assert torch.equal(none.latent, exact)
    assert (none.cache.calls, none.cache.reused, none.cache.error) == (12, 0, 0.0)
    with caplog.at_level("INFO"):
        some = pipeline.sample(prompts, noise, 12, cache=0.5, solver=euler, measure_cache=True)
    assert 0 < some.cache.reused < 12
    expected = float((some.latent - exact).norm() / exact.norm())
    assert some.cache.error == pytest.approx(expected, rel=1e-4)
    assert some.cache.error > 0
    assert f"{some.cache.reused} of 12 calls reused, relative error" in caplog.text
    unmeasured = pipeline.sample(prompts, noise, 12, cache=0.5, solver=euler)
    assert unmeasured.cache.error is None
    assert torch.equal(unmeasured.latent, some.latent)


def test_a_reused_step_runs_one_block_and_is_exact_where_nothing_changed(
    wan: WanTransformer, make_batch
) -> None:
    batch, cache, ran = make_batch(2), StepCache(0.1), []
    for i, block in enumerate(wan.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    with torch.inference_mode():
        first = wan(batch.latent, batch.t, batch.text, cache)
        again = wan(batch.latent, batch.t, batch.text, cache)
        assert_parity(again, first, 1e-5)
        far = wan(3 - batch.latent, batch.t, batch.text, cache)
        assert_parity(far, wan(3 - batch.latent, batch.t, batch.text), 1e-6)
    assert ran == [0, 1, 0, 0, 1, 0, 1]
    assert (cache.calls, cache.reused) == (3, 1)
    with pytest.raises(UserError, match="threshold"):
        StepCache(1.5)


def test_schedule_starts_at_noise_ends_at_data_and_leans_by_size() -> None:
    times = schedule(4, 3.0)
    torch.testing.assert_close(times, torch.tensor([0, 0.1, 0.25, 0.5, 1], dtype=torch.float64))
    assert default_shift(480, 832) == 3.0
    assert default_shift(1280, 720) == 5.0
    with pytest.raises(UserError, match="above 0"):
        schedule(4, 0.0)


def test_solve_takes_another_solver(wan: WanTransformer) -> None:
    states = Words().encode(["a cat"])
    noise = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    precision = Precision.choose("fp32")
    fine = solve(wan, states, noise, schedule(64, 1.0), 1.0, precision, solver=heun).latent
    first_order = solve(wan, states, noise, schedule(8, 1.0), 1.0, precision, solver=euler).latent
    second_order = solve(wan, states, noise, schedule(8, 1.0), 1.0, precision, solver=heun).latent
    assert (second_order - fine).norm() < (first_order - fine).norm()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": "a cat"}, "must be a list of texts"),
        ({"seeds": [1, 2]}, "1 prompts and 2 seeds"),
        ({"seeds": [-1]}, "seed is -1"),
        ({"height": 40}, "height is 40 and must be a multiple of 16: try 32"),
        ({"width": 8}, "width is 8 and must be a multiple of 16: try 16"),
        ({"num_frames": 16}, "num_frames is 16 and must be a multiple of 4, and one: try 17"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "at most 1000"),
        ({"steps": 2.5}, r"steps is 2\.5"),
        ({"batch": 0}, "batch is 0"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"fps": 0}, "fps is 0"),
        ({"shift": -1.0}, "shift is -1"),
        ({"cache": 2.0}, "threshold"),
    ],
)
def test_what_cannot_be_made_is_refused(pipeline: WanVideo, change: dict, words: str) -> None:
    settings = {"prompts": ["a cat"], "seeds": [1], "height": 16, "width": 16, "num_frames": 1, "steps": 2}
    with pytest.raises(UserError, match=words):
        pipeline.generate(**{**settings, **change})
