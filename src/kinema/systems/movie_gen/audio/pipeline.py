"""What a user calls: sound for a clip, from words, around a gap, or onwards from given sound (2410.13720, 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.flow.solvers import OnStep
from kinema.media import Sound, Video
from kinema.media.encode import resample
from kinema.systems.movie_gen.audio import sampling
from kinema.systems.movie_gen.audio.captions import CLEAN, MUSIC, SoundCaption, refuse_voices
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.parts import AudioParts, load_parts
from kinema.systems.movie_gen.audio.ranking import Agreement
from kinema.systems.movie_gen.audio.sampling import GUIDANCE_SCALE, Settings
from kinema.systems.movie_gen.audio.visual import on_grid
from kinema.text.states import TextStates
from kinema.train.precision import Precision, PrecisionName
from kinema.train.seeds import make_generator

NARROW = 512  # width below which bfloat16 costs more on a CPU in conversions than it saves (nano: 1.7 times as slow)
STEPS = 16  # of the midpoint solver, as in Meta's later code; the paper takes 64
SHORTEST, LONGEST = 0.04, 600.0  # seconds
LongForm = Literal["windows", "segments"]
Score = Callable[[Sequence[Sound], Video | None, str], Sequence[float]]


class MovieGenAudio:
    """Video, text or both to sound with one set of weights. No method keeps state between calls.

    precision: of the transformer's products while sampling; latents, solver and codec stay in float32.
    """

    def __init__(self, parts: AudioParts, device: str = "cpu", precision: PrecisionName = "auto") -> None:
        self.parts = parts.to(device).freeze()
        self.device = torch.device(device)
        if precision == "auto" and self.device.type == "cpu" and parts.transformer.config.dim < NARROW:
            precision = "fp32"
        self.precision = Precision.choose(precision, device)

    @property
    def rate(self) -> int:
        """Samples a second of the sounds that are made."""
        return int(self.parts.codec.config.rate)

    @property
    def hop(self) -> int:
        """Samples in a latent frame."""
        return int(self.parts.codec.config.hop)

    @property
    def reach(self) -> float:
        """Seconds that the model sees at once; longer sound is made in windows or segments."""
        return self.parts.transformer.config.max_frames * self.hop / self.rate

    def sound_for(self, video: Video, prompt: str = "", seed: int = 0, **settings: object) -> Sound:
        """Sound as long as a clip and in step with it; `settings` as for `generate`."""
        return self.generate(
            [prompt],
            seconds=video.seconds,
            seeds=[seed],
            videos=[video],
            **settings,  # type: ignore[arg-type]
        )[0]

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        seconds: float,
        seeds: Sequence[int],
        videos: Sequence[Video | None] | None = None,
        music: str = "",
        quality: float = CLEAN,
        steps: int | None = None,
        guidance_scale: float | None = None,
        long_form: LongForm = "windows",
        candidates: int = 1,
        score: Score | None = None,
        on_step: OnStep | None = None,
    ) -> list[Sound]:
        """Make one sound for each prompt.

        Args:
            prompts: what is heard; empty leaves it to the video.
            seconds: length of the sounds.
            seeds: one a prompt. The noise of a sound depends on its seed alone, drawn on the CPU.
            videos: one a prompt, or None where there is none; the sound is in step with its frames.
            music: mood and genre of music to play; empty for none.
            quality: 1 to 10, what the sound's quality is said to be; nano has learned 4 and 8.
            steps: of the midpoint solver, two evaluations each.
            guidance_scale: how hard the conditions pull; 1 is no guidance.
            long_form: how sound longer than `reach` is made: in windows that are merged at every evaluation
                (MultiDiffusion), or in segments, each beside the end of the one before.
            candidates: sounds made for each prompt, of which the one that `score` likes best is kept.
            score: (candidates, video, prompt) -> one number each, larger is better; None: how far what is heard
                agrees with what is seen and said (`ranking.Agreement`).
            on_step: called with the steps done and the latent (of windows; segments call once for each sound).

        Raises:
            UserError: a setting that cannot be taken, or a prompt that asks for speech or song.
        """
        shown = [None] * len(prompts) if videos is None else list(videos)
        settings = self._settings(prompts, seeds, seconds, steps, guidance_scale)
        if len(shown) != len(prompts):
            raise UserError(
                f"there are {len(prompts)} prompts and {len(shown)} videos: give one each, or None"
            )
        if long_form not in ("windows", "segments"):
            raise UserError(f"long_form is {long_form!r} and must be 'windows' or 'segments'")
        if not hasattr(candidates, "__index__") or not 1 <= candidates <= 64:
            raise UserError(f"candidates is {candidates!r} and must be a whole number from 1 to 64")
        if candidates > 1 and score is None:
            score = Agreement(self.parts.frames)
        if not prompts:
            return []
        samples = round(seconds * self.rate)
        length = -(-samples // self.hop)
        captions = [self.caption(prompt, music, quality) for prompt in prompts]
        empty = torch.zeros(len(prompts), self.parts.codec.spec.channels, length, device=self.device)
        told, rounds = self.conditions(captions, empty, shown), []
        for turn in range(candidates):
            noise = torch.stack([self._noise(length, seed, turn) for seed in seeds]).to(self.device)
            if long_form == "windows" or length <= settings.reach(self.parts.transformer):
                latent = sampling.sample(self.parts.transformer, told, noise, settings, on_step)
            else:
                latent = sampling.autoregressive(self.parts.transformer, told, noise, settings)
            rounds.append([self._sound(part) for part in self._decode(latent, samples)])
        if score is None or candidates == 1:
            return rounds[0]
        chosen = []
        for row, (prompt, video) in enumerate(zip(prompts, shown, strict=True)):
            made = [sounds[row] for sounds in rounds]
            scores = list(score(made, video, prompt))
            chosen.append(made[max(range(candidates), key=scores.__getitem__)])
        return chosen

    @torch.inference_mode()
    def extend(
        self,
        sound: Sound,
        seconds: float,
        *,
        direction: Literal["forward", "backward"] = "forward",
        prompt: str = "",
        seed: int = 0,
        video: Video | None = None,
        music: str = "",
        quality: float = CLEAN,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Sound:
        """The sound with `seconds` more after it, or before it.

        prompt: of the new part. video: of the whole result, from its beginning on. The given sound stays as it is but
        for the last hundredths of a second at the join; the new part of a stereo sound is in its middle.
        """
        if direction not in ("forward", "backward"):
            raise UserError(f"direction is {direction!r} and must be 'forward' or 'backward'")
        settings = self._settings([prompt], [seed], seconds, steps, guidance_scale)
        backward = direction == "backward"
        own = self._own(sound)  # (1, 1 or 2, n)
        given = own.mean(1, keepdim=True)  # the codec is mono
        more, hop = round(seconds * self.rate), self.hop
        samples = given.shape[2] + more
        known = given.shape[2] // hop  # whole latent frames
        if known == 0 or more == 0:
            raise UserError(
                f"extending {sound.seconds:.3f} s by {seconds} s: both must be at least one frame of 0.04 s"
            )
        # Backward, the new part ends where the given sound begins; its own beginning is then cut to the sample.
        new = -(-(more if backward else samples - known * hop) // hop)
        context = min(settings.reach(self.parts.transformer) // sampling.CONTEXT_SHARE, known)
        latent = self.parts.codec.encode(given)[:, :, :known]
        near = latent[:, :, :context] if backward else latent[:, :, known - context :]
        empty = near.new_zeros(1, near.shape[1], new)
        canvas = torch.cat([empty, near] if backward else [near, empty], dim=2)
        ahead = (
            0.0 if backward else (known - context) * hop / self.rate
        )  # where the canvas begins in the result
        told = self.conditions([self.caption(prompt, music, quality)], canvas, [video], ahead)
        noise = self._noise(canvas.shape[2], seed)[None].to(self.device)
        made = sampling.autoregressive(
            self.parts.transformer, told, noise, settings, known=context, backward=backward
        )
        decoded = self._decode(made, made.shape[2] * hop)  # (1, 1, canvas samples)
        whole, result = own.new_zeros(1, own.shape[1], samples), own.new_zeros(1, 1, samples)
        if backward:
            whole[:, :, more:] = own
            skip = new * hop - more
            part = decoded[:, :, skip:][:, :, :samples]
            result[:, :, : part.shape[2]] = part
            return self._sound(blend(whole, result, 0, more, hop)[0])
        whole[:, :, : own.shape[2]] = own
        begin = (known - context) * hop
        part = decoded[:, :, : samples - begin]
        result[:, :, begin : begin + part.shape[2]] = part
        return self._sound(blend(whole, result, known * hop, samples, hop)[0])

    @torch.inference_mode()
    def infill(
        self,
        sound: Sound,
        start: float,
        end: float,
        *,
        prompt: str = "",
        seed: int = 0,
        video: Video | None = None,
        music: str = "",
        quality: float = CLEAN,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Sound:
        """The sound with what lies between `start` and `end` (s) made anew; the rest stays as it is.

        prompt: of the whole. video: of the whole sound. The new part of a stereo sound is in its middle.
        """
        if not 0 <= start < end <= sound.seconds + 1e-6:
            raise UserError(
                f"the gap runs from {start} to {end} s and must lie in order within the sound's {sound.seconds:.3f} s"
            )
        settings = self._settings([prompt], [seed], sound.seconds, steps, guidance_scale)
        own, hop = self._own(sound), self.hop
        given = own.mean(1, keepdim=True)
        latent = self.parts.codec.encode(given)  # (1, C, N)
        length, window = latent.shape[2], settings.reach(self.parts.transformer)
        first_gap, end_gap = (
            math.floor(start * self.rate / hop),
            min(math.ceil(end * self.rate / hop), length),
        )
        beside = max((window - (end_gap - first_gap)) // 2, window // sampling.CONTEXT_SHARE)
        first, last = max(first_gap - beside, 0), min(end_gap + beside, length)
        known = latent[:, :, first:last].clone()
        known[:, :, first_gap - first : end_gap - first] = 0.0
        told = self.conditions(
            [self.caption(prompt, music, quality)], known, [video], first * hop / self.rate
        )
        noise = self._noise(last - first, seed)[None].to(self.device)
        made = sampling.sample(self.parts.transformer, told, noise, settings)
        known[:, :, first_gap - first : end_gap - first] = made[:, :, first_gap - first : end_gap - first]
        decoded = self._decode(known, (last - first) * hop)
        result = given.clone()
        part = decoded[:, :, : given.shape[2] - first * hop]
        result[:, :, first * hop : first * hop + part.shape[2]] = part
        borders = round(start * self.rate), min(round(end * self.rate), given.shape[2])
        return self._sound(blend(own, result, *borders, hop)[0])

    @torch.inference_mode()
    def round_trip(self, sound: Sound) -> Sound:
        """The sound through the codec and back: the best that the model could do."""
        given = self._own(sound).mean(1, keepdim=True)
        latent = self.parts.codec.encode(given)
        return self._sound(self._decode(latent, given.shape[2])[0])

    def caption(self, prompt: str, music: str = "", quality: float = CLEAN) -> str:
        """The text that the model reads for a prompt. Raises UserError where it asks for speech or song."""
        refuse_voices(prompt)
        refuse_voices(music)
        heard = prompt if prompt.strip() else music  # music alone is what is heard
        said = SoundCaption(description=heard.strip().rstrip("."), quality=quality)
        if music:
            said = replace(said, music=music.strip().rstrip("."), music_likelihood=MUSIC)
        return said.text

    def conditions(
        self, captions: Sequence[str], context: Tensor, videos: Sequence[Video | None], offset: float = 0.0
    ) -> Conditions:
        """Context (B, C, N), the frames shown from `offset` seconds on, and the captions."""
        length, visual, seen = context.shape[2], list[Tensor](), list[Tensor]()
        start, rate = round(offset * self.rate / self.hop), self.rate / self.hop
        config = self.parts.transformer.config
        for video in videos:
            if video is None:
                visual.append(torch.zeros(length, config.shown_dim, device=self.device))
                seen.append(torch.zeros(length, dtype=torch.bool, device=self.device))
                continue
            features = self.parts.frames.encode(torch.from_numpy(video.frames), video.fps)
            grid, there = on_grid(features, video.fps, start + length, rate, config.frame_age)
            visual.append(grid[start:])
            seen.append(there[start:])
        text: TextStates = self.parts.text.encode(list(captions))
        return Conditions(
            context=context, visual=torch.stack(visual), seen=torch.stack(seen), text=text.to(self.device)
        )

    def _noise(self, length: int, seed: int, candidate: int = 0) -> Tensor:
        """(C, N) from a seed; the first candidate's is that of a sound made alone."""
        generator = torch.Generator().manual_seed(int(seed))
        if candidate:
            generator = make_generator(int(seed), "candidate", candidate)
        # Drawn frame by frame, so that a longer sound begins as a shorter one does.
        return torch.randn(length, self.parts.codec.spec.channels, generator=generator).T

    def _decode(self, latent: Tensor, samples: int) -> Tensor:
        return self.parts.codec.decode(latent.float(), samples)

    def _sound(self, samples: Tensor) -> Sound:  # (C, n)
        return Sound(
            np.ascontiguousarray(samples.clamp(-1.0, 1.0).cpu().numpy(), dtype=np.float32), self.rate
        )

    def _own(self, sound: Sound) -> Tensor:
        """(1, C, n) at the codec's rate: mono and stereo as they are, more channels as their mean."""
        samples = (
            sound.samples if sound.channels <= 2 else sound.samples.mean(0, keepdims=True, dtype=np.float32)
        )
        return torch.from_numpy(resample(samples, sound.rate, self.rate).copy())[None].to(self.device)

    def _settings(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        seconds: float,
        steps: int | None,
        guidance_scale: float | None,
    ) -> Settings:
        if isinstance(prompts, str):
            raise UserError(
                "prompts is one text and must be a list of texts: write [prompt], and [seed] beside it"
            )
        if len(prompts) != len(seeds):
            raise UserError(
                f"there are {len(prompts)} prompts and {len(seeds)} seeds: give one seed a prompt"
            )
        for seed in seeds:
            if not hasattr(seed, "__index__") or not 0 <= seed < 2**63:
                raise UserError(f"seed is {seed!r} and must be a whole number from 0 to 2**63 - 1")
        count = STEPS if steps is None else steps
        if not hasattr(count, "__index__") or not 1 <= count <= 1000:
            raise UserError(f"steps is {count!r} and must be a whole number from 1 to 1000")
        scale = GUIDANCE_SCALE if guidance_scale is None else guidance_scale
        if not 0 <= scale <= 50:
            raise UserError(f"guidance_scale is {scale} and must lie between 0 and 50")
        if not SHORTEST <= seconds <= LONGEST:
            raise UserError(f"{seconds} seconds were asked for: from {SHORTEST:g} to {LONGEST:g} can be made")
        return Settings(steps=count, guidance_scale=scale, precision=self.precision.autocast)


def blend(sound: Tensor, made: Tensor, begin: int, end: int, fade: int) -> Tensor:
    """`made` (1, 1, n) from sample `begin` to `end`, `sound` (1, C, n) elsewhere, faded just outside: (1, C, n)."""
    at = torch.arange(sound.shape[2], device=sound.device)
    outside = torch.maximum(begin - at, at - (end - 1)).clamp(min=0)  # samples away from the made part
    share = (1 - outside / fade).clamp(min=0.0)
    return sound + share * (made - sound)


def load(weights_path: Path, device: str = "cpu", precision: PrecisionName = "auto") -> MovieGenAudio:
    """A ready pipeline from a weight file."""
    return MovieGenAudio(load_parts(weights_path), device, precision)
