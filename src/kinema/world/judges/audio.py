"""The audio judge: a small network that hears, in any clip, what the Small World's sound is made of.

It reads back onset times, what each onset is (the material of an impact, the family of a caller, an instrument) and
the background's bed. Onsets are impacts, calls and notes; whooshes, rolling and engines begin with the clip and have
none. It works on a log-mel picture that looks alike at every rate from 16 kHz up.

    python -m kinema.world.judges.audio train      # from scratch, fixed seed: 13 minutes on a busy core
    python -m kinema.world.judges.audio evaluate   # its accuracy on true renders of held-out scenes

The measured accuracy stands in the metadata of the weights, so that reports can print it beside the scores it gives.
"""

# B clips, N samples, M mel bands, F mel frames (5 ms), T trunk frames (10 ms), C width

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from kinema.errors import UserError
from kinema.weights import load_strict, read_weights
from kinema.world.scene import Scene, WorldSpec, sample_scene
from kinema.world.sound.events import BEDS, CREATURES, MATERIALS, SOUND_CLASSES, onsets, sound_class
from kinema.world.sound.matching import match_times
from kinema.world.sound.mel import BANDS, HOP, log_mel
from kinema.world.sound.mix import render_sound

ASSET = "assets/audio_judge.safetensors"
STRIDE = 2  # mel frames in a trunk frame
TOLERANCE = 0.04  # seconds
_DILATIONS = (1, 2, 4, 8, 16, 32, 1)  # reach: 0.64 s to either side


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One detected event: when (s), its kind (impact, call, note), what it sounds like, how sure the judge is."""

    time: float
    kind: str
    sound: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the judge hears in a clip: its events in order of time, and the bed behind them."""

    events: tuple[Heard, ...]
    background: str
    background_confidence: float


class Block(nn.Module):
    """A residual convolution over time."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> the same."""
        return x + F.relu(self.norm(self.conv(x)))


class AudioJudgeNet(nn.Module):
    """Log-mel (B, M, F) -> onset logits (B, T), class logits (B, classes, T), bed logits (B, beds)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Conv1d(BANDS, width, 5, stride=STRIDE, padding=2)
        self.blocks = nn.Sequential(*(Block(width, dilation) for dilation in _DILATIONS))
        self.onset = nn.Conv1d(width, 1, 3, padding=1)
        self.sound = nn.Conv1d(width, len(SOUND_CLASSES), 1)
        self.bed = nn.Sequential(nn.Linear(5 * width, 64), nn.ReLU(), nn.Linear(64, len(BEDS)))

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, M, F) in dB -> onset (B, T), sound (B, classes, T), bed (B, beds); trunk frame j lies on frame 2j."""
        stem = F.relu(self.stem((mel + 60) / 20))
        x = self.blocks(stem)
        # The quietest moments of a clip show its bed best: a soft minimum of the stem stands beside the averages.
        quiet = -torch.logsumexp(-4 * stem, 2) / 4
        pooled = torch.cat([x.mean(2), x.std(2), x.amax(2), stem.mean(2), quiet], 1)  # (B, 5 C)
        return self.onset(x)[:, 0], self.sound(x), self.bed(pooled)


def kind_of(sound: str) -> str:
    """The kind of event that has this class."""
    return "impact" if sound in MATERIALS else "call" if sound in CREATURES else "note"


class AudioJudge:
    """The trained network with what is known of its own accuracy."""

    def __init__(self, net: AudioJudgeNet, accuracy: dict[str, float], threshold: float = 0.5) -> None:
        self.net = net.eval()
        self.accuracy = accuracy
        self.threshold = threshold

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> AudioJudge:
        """The judge that ships with kinema."""
        with resources.as_file(resources.files("kinema.world").joinpath(ASSET)) as path:
            return AudioJudge.read_file(path)

    @staticmethod
    def read_file(path: str | Path) -> AudioJudge:
        """A judge from its weight file."""
        state, metadata = read_weights(path)
        net = AudioJudgeNet()
        load_strict(net, {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, path)
        accuracy = json.loads(metadata.get("accuracy", "{}"))
        return AudioJudge(net, accuracy, float(metadata.get("threshold", 0.5)))

    def write_file(self, path: str | Path, recipe: str) -> None:
        """Keep the judge as float16 safetensors, its accuracy in the metadata."""
        from safetensors.torch import save_file

        state = {k: v.half() if v.is_floating_point() else v for k, v in self.net.state_dict().items()}
        metadata = {"accuracy": json.dumps(self.accuracy), "threshold": str(self.threshold), "recipe": recipe}
        save_file(state, str(path), metadata)

    @torch.no_grad()
    def read(self, sound: torch.Tensor, rate: int = 48000) -> list[Reading]:
        """What is heard in each clip: (B, 1, N) in [-1, 1] -> B readings.

        Raises:
            UserError: the sound is not (B, 1, N), the rate is below 16 kHz, or it holds values that are not finite.
        """
        if not bool(sound.isfinite().all()):
            raise UserError("the sound holds values that are not finite: the judge cannot hear it")
        readings: list[Reading] = []
        for part in sound.float().split(32):
            onset, classes, bed = self.net(log_mel(part, rate))
            seconds = STRIDE * round(HOP * rate) / rate  # of one trunk frame
            beds = bed.softmax(1)
            for k in range(len(part)):
                best = int(beds[k].argmax())
                readings.append(
                    Reading(
                        events=self._events(onset[k].sigmoid(), classes[k], seconds),
                        background=BEDS[best],
                        background_confidence=float(beds[k, best]),
                    )
                )
        return readings

    def _events(self, chance: torch.Tensor, classes: torch.Tensor, seconds: float) -> tuple[Heard, ...]:
        """Peaks of the onset chance (T,), each with the class (classes, T) that holds around it."""
        peak = (chance >= self.threshold) & (chance == F.max_pool1d(chance[None], 9, 1, 4)[0])
        found: list[Heard] = []
        for at in peak.nonzero()[:, 0].tolist():
            near = slice(max(at - 2, 0), at + 3)
            weight = chance[near]
            centre = float((weight * torch.arange(near.start, near.start + len(weight))).sum() / weight.sum())
            sound = SOUND_CLASSES[int(classes[:, near].mean(1).argmax())]
            found.append(
                Heard(time=centre * seconds, kind=kind_of(sound), sound=sound, confidence=float(chance[at]))
            )
        return tuple(found)


def measure(
    judge: AudioJudge,
    split: str,
    vocabularies: Sequence[Literal["nano", "full"]] = ("nano", "full"),
    clips: int = 500,
    rate: int = 48000,
) -> dict[str, float]:
    """The judge's accuracy on true renders, `clips` of each vocabulary, counts pooled.

    onset_f1 (and precision, recall) within 40 ms; impact_f1: impacts alone, right kind required; class: the right
    class among matched onsets; material, family: the same for impacts, for calls and notes; bed; onset_error_ms.
    """
    count: Counter[str] = Counter()
    error = 0.0
    for vocabulary in vocabularies:
        for start in range(0, clips, 32):
            spec = WorldSpec(vocabulary=vocabulary)
            scenes = [sample_scene(split, k, spec) for k in range(start, min(start + 32, clips))]
            for scene, reading in zip(scenes, judge.read(render_sound(scenes, rate), rate)):
                truth, heard = onsets(scene), reading.events
                pairs = match_times([e.time for e in truth], [h.time for h in heard], TOLERANCE)
                count.update(clips=1, bed=int(reading.background == scene.background))
                count.update(truth=len(truth), heard=len(heard), hits=len(pairs))
                for i, j in pairs:
                    group = "material" if truth[i].kind == "impact" else "family"
                    right = heard[j].sound == sound_class(scene, truth[i])
                    count.update({group: int(right), f"{group} of": 1})
                    error += abs(heard[j].time - truth[i].time)
                struck = [e.time for e in truth if e.kind == "impact"]
                felt = [h.time for h in heard if h.kind == "impact"]
                agreed = len(match_times(struck, felt, TOLERANCE))
                count.update(struck=len(struck), felt=len(felt), agreed=agreed)

    def share(part: int, whole: int) -> float:
        return round(part / max(whole, 1), 4)

    return {
        "onset_f1": share(2 * count["hits"], count["truth"] + count["heard"]),
        "onset_precision": share(count["hits"], count["heard"]),
        "onset_recall": share(count["hits"], count["truth"]),
        "impact_f1": share(2 * count["agreed"], count["struck"] + count["felt"]),
        "class": share(count["material"] + count["family"], count["hits"]),
        "material": share(count["material"], count["material of"]),
        "family": share(count["family"], count["family of"]),
        "bed": share(count["bed"], count["clips"]),
        "onset_error_ms": round(1000 * error / max(count["hits"], 1), 2),
    }


def measure_all(judge: AudioJudge, clips: int = 500) -> dict[str, float]:
    """Accuracy on `val`; the same at 16 kHz (`..._16k`); and on objects never trained on (`..._unseen_objects`)."""
    found = measure(judge, "val", clips=clips)
    found |= {f"{k}_16k": v for k, v in measure(judge, "val", clips=clips // 2, rate=16000).items()}
    unseen = measure(judge, "test-objects", ("full",), clips=clips)
    return found | {f"{k}_unseen_objects": v for k, v in unseen.items()}


# --- the recipe -------------------------------------------------------------------------------------------------

SEED = 7
TRAINING_CLIPS = 4600  # at most: the quotas leave 3904
STEPS = 900
BATCH = 48
CROP = 320  # mel frames, 1.6 s
LEARNING_RATE = 3e-3
QUOTA = 330  # events of a class after which a scene is taken for that class no more


def _training_scenes() -> Iterator[Scene]:
    """Scenes of `train`, of both vocabularies in turn, in which rare sounds (stone, glass) are less rare."""
    heard: Counter[str] = Counter()
    taken = 0
    for index in range(40000):
        spec = WorldSpec(vocabulary="nano" if index % 4 == 0 else "full")
        scene = sample_scene("train", index, spec)
        sounds = [sound_class(scene, e) for e in onsets(scene)]
        if any(heard[s] < QUOTA for s in sounds) or (index % 3 == 0 and taken < TRAINING_CLIPS * 0.8):
            heard.update(sounds)
            taken += 1
            yield scene
        if taken == TRAINING_CLIPS:
            return


def _targets(scene: Scene, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Onset targets (T,), a triangle of 15 ms about each; class targets (T,), -1 away from onsets."""
    at = torch.arange(frames) * (STRIDE * HOP)
    chance, classes = torch.zeros(frames), torch.full((frames,), -1)
    for event in onsets(scene):
        distance = (at - event.time).abs()
        chance = torch.maximum(chance, 1 - distance / 0.015)
        classes[distance <= 0.025] = SOUND_CLASSES.index(sound_class(scene, event))
    return chance, classes


def _augmented(mel: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another loudness (-12 to +6 dB) and, for half of the clips, a floor of noise (-95 to -60 dB, tilted)."""
    clips = len(mel)
    gain = torch.rand(clips, 1, 1, generator=generator) * 18 - 12
    floor = torch.rand(clips, 1, 1, generator=generator) * 35 - 95
    tilt = (torch.rand(clips, 1, 1, generator=generator) - 0.5) * 20 * torch.linspace(-1, 1, BANDS)[:, None]
    noisy = torch.rand(clips, 1, 1, generator=generator) < 0.5
    floor = torch.where(noisy, floor + tilt, torch.tensor(-120.0))
    speckle = 10 * torch.log10(-torch.log(torch.rand(mel.shape, generator=generator).clamp(1e-6, 1 - 1e-6)))
    power = 10 ** ((mel + gain) / 10) + 10 ** ((floor + speckle) / 10)
    return 10 * torch.log10(power.clamp(min=1e-9))


def train(path: str | Path, steps: int = STEPS, clips: int = TRAINING_CLIPS) -> AudioJudge:
    """Train a judge from scratch, measure it, and keep it at `path`."""
    began = time.monotonic()
    torch.manual_seed(SEED)
    generator, rng = torch.Generator().manual_seed(SEED), random.Random(SEED)
    mels, chances, classes, beds = [], [], [], []
    for k, scene in enumerate(_training_scenes()):
        if k == clips:
            break
        rate = 48000 if k % 2 else 16000
        mel = log_mel(render_sound([scene], rate), rate)[0]
        chance, kinds = _targets(scene, -(-mel.shape[1] // STRIDE))
        mels.append(mel.half())
        chances.append(chance)
        classes.append(kinds)
        beds.append(BEDS.index(scene.background))
    _say(f"{len(mels)} clips rendered after {time.monotonic() - began:.0f} s")
    net = AudioJudgeNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    net.train()
    for step in range(steps):
        chosen = [rng.randrange(len(mels)) for _ in range(BATCH)]
        begin = [STRIDE * rng.randrange((mels[i].shape[1] - CROP) // STRIDE) for i in chosen]
        mel = torch.stack([mels[i][:, b : b + CROP] for i, b in zip(chosen, begin)]).float()
        spans = [slice(b // STRIDE, (b + CROP) // STRIDE) for b in begin]
        wanted = torch.stack([chances[i][s] for i, s in zip(chosen, spans)])
        kinds = torch.stack([classes[i][s] for i, s in zip(chosen, spans)])
        onset, sound, bed = net(_augmented(mel, generator))
        losses = (
            4 * F.binary_cross_entropy_with_logits(onset, wanted, weight=1 + 7 * wanted),
            F.cross_entropy(sound, kinds, ignore_index=-1),
            0.5 * F.cross_entropy(bed, torch.tensor([beds[i] for i in chosen])),
        )
        optimizer.zero_grad()
        sum(losses, torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            parts = ", ".join(f"{loss.item():.4f}" for loss in losses)
            _say(f"step {step + 1}: onset, class, bed = {parts}; {time.monotonic() - began:.0f} s")
    judge = AudioJudge(net, {})
    judge.write_file(path, "")
    judge = AudioJudge.read_file(path)  # measured as it is kept: in half precision
    judge.accuracy = measure_all(judge)
    recipe = f"python -m kinema.world.judges.audio train; seed {SEED}, {steps} steps, {len(mels)} clips"
    judge.write_file(path, recipe)
    return judge


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """`train [PATH]` or `evaluate [PATH]`; PATH defaults to the judge inside the package."""
    if not arguments or arguments[0] not in ("train", "evaluate") or len(arguments) > 2:
        sys.stderr.write("usage: python -m kinema.world.judges.audio {train,evaluate} [PATH]\n")
        return 2
    path = Path(arguments[1]) if len(arguments) > 1 else Path(str(resources.files("kinema.world"))) / ASSET
    if arguments[0] == "train":
        found = train(path).accuracy
    else:
        found = measure_all(AudioJudge.read_file(path))
    for name, value in found.items():
        _say(f"{name:34s} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
