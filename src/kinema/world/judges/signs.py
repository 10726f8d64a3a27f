"""The sign reader: which word, if any, the sign of a clip says, up to four characters.

judge = SignJudge.load()
judge.read(clips)[0].word          # clips: float (B, 3, T, H, W) in [-1, 1]; "" where there is no sign

    python -m kinema.world.judges.signs train      # from scratch, fixed seed
    python -m kinema.world.judges.signs evaluate   # its accuracy on true renders of words that it never saw

Every frame is looked at alone: a first look finds the word, a second reads a strip cut out around it, and frames in
which the word is whole speak for the clip. The measured accuracy stands in the metadata of the weights.
"""

# B clips, T frames (16), N frames, S slots (4), A answers of a slot (36 characters and none)

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.weights import load_strict, read_weights
from kinema.world.judges.labels import sign_word
from kinema.world.judges.lessons import to_float
from kinema.world.judges.networks import FRAMES, _conv2d
from kinema.world.judges.sign_lessons import BLANK, MOMENTS, SLOTS, lesson
from kinema.world.judges.video import prepared
from kinema.world.letters import ALPHABET, HIGH
from kinema.world.renderer import render
from kinema.world.scene import WorldSpec, sample_scene

ASSET = "assets/sign_judge.safetensors"
ANSWERS = len(ALPHABET) + 1
CELLS = 8  # rows and columns of the first look's grid


@dataclass(frozen=True, kw_only=True)
class SignReading:
    """What a clip's sign says ("" for no sign that can be read), and how sure the judge is of that."""

    word: str
    probability: float


@dataclass(frozen=True)
class Seen:
    """What the network makes of N frames."""

    box: Tensor  # (N, 3) x of the word's left edge, y of its middle, log of the letters' height, in frame heights
    score: Tensor  # (N, 64) where in the frame it looks
    whole: Tensor  # (N,) logit: there is a word, and it can be read whole


class SignNet(nn.Module):
    """Finds a word in a frame and reads it, a character a slot: about 30 million multiplications a frame."""

    ROWS, COLUMNS = 16, 48  # pixels of the strip
    UNIT = 10 / HIGH  # pixels of the strip to a unit of the letters' grid: letters are 10 pixels high
    LEAD = 7.0  # pixels of the strip before the word

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.look = nn.Sequential(
            _conv2d(48, 32), _conv2d(32, 48, 2), _conv2d(48, 64), _conv2d(64, 64), _conv2d(64, 64)
        )
        self.place = nn.Conv2d(64, 4, 1)  # score, offset x, offset y, log height
        self.whole = nn.Linear(128, 1)
        self.read = nn.Sequential(
            _conv2d(3, 24),
            _conv2d(24, 48, 2),  # (8, 24)
            _conv2d(48, 64),
            nn.MaxPool2d((2, 1)),
            _conv2d(64, 80),
            _conv2d(80, width),  # (4, 24)
        )
        self.lines = nn.Conv2d(width, width, (4, 1))
        self.along = nn.Conv1d(width, width, 7, padding=3)
        self.where = nn.Conv1d(width, SLOTS, 1)
        self.habit = nn.Parameter(torch.zeros(SLOTS, self.COLUMNS // 2))
        self.answer = nn.Linear(2 * width, ANSWERS)
        steps = (torch.arange(CELLS) + 0.5) / CELLS - 0.5
        self.grid: Tensor
        grid = torch.stack([steps.repeat(CELLS), steps.repeat_interleave(CELLS)])
        self.register_buffer("grid", grid, persistent=False)

    def find(self, frames: Tensor) -> Seen:
        """(N, 3, 64, 64) -> where the word is."""
        x = self.look(F.pixel_unshuffle(frames, 4))  # (N, 64, 8, 8)
        score, dx, dy, size = self.place(x).flatten(2).unbind(1)  # each (N, 64)
        weights = score.softmax(1)
        guess = torch.stack([self.grid[0] + 0.25 * dx, self.grid[1] + 0.25 * dy, 0.25 * size - 2.0], 1)
        there = torch.cat([(x.flatten(2) * weights[:, None]).sum(2), x.amax((2, 3))], 1)
        return Seen((guess * weights[:, None]).sum(2), score, self.whole(there)[:, 0])

    def cut(self, frames: Tensor, box: Tensor) -> Tensor:
        """The strip with the word at its usual place and size: (N, 3, H, W), (N, 3) -> (N, 3, 16, 48)."""
        pixel = box[:, 2].clamp(-4, 0).exp() / HIGH / self.UNIT  # frame heights to a pixel of the strip
        columns = torch.arange(self.COLUMNS, device=frames.device) + 0.5 - self.LEAD
        rows = torch.arange(self.ROWS, device=frames.device) + 0.5 - self.ROWS / 2
        x = box[:, :1] + pixel[:, None] * columns  # (N, 48)
        y = box[:, 1:2] + pixel[:, None] * rows  # (N, 16)
        grid = torch.stack(
            [x[:, None].expand(-1, self.ROWS, -1), y[..., None].expand(-1, -1, self.COLUMNS)], -1
        )
        return F.grid_sample(frames, 2 * grid, padding_mode="border", align_corners=False)

    def spell(self, frames: Tensor, box: Tensor) -> Tensor:
        """Frames and boxes (N, 3) -> logits (N, S, A)."""
        strip = self.cut(frames, box)
        mean = strip.mean((1, 2, 3), keepdim=True)
        spread = strip.std((1, 2, 3), keepdim=True).clamp(min=0.05)
        x = F.relu(self.lines(self.read((strip - mean) / spread))[:, :, 0])  # (N, width, 24)
        x = torch.cat([x, F.relu(self.along(x))], 1)
        where = (self.where(x[:, len(x[0]) // 2 :]) + self.habit).softmax(2)  # (N, S, 24)
        return self.answer(torch.einsum("nct,nst->nsc", x, where))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 64, 64) -> logits of characters (N, S, A), and that the word is whole (N,)."""
        seen = self.find(frames)
        return self.spell(frames, seen.box), seen.whole


class SignJudge:
    """The trained network with what is known of its own accuracy."""

    def __init__(self, net: SignNet, accuracy: dict[str, float] | None = None) -> None:
        self.net = net.eval()
        self.accuracy = accuracy or {}

    @classmethod
    def load(cls, path: str | Path | None = None) -> SignJudge:
        """The judge of this copy of kinema, or one that the recipe wrote elsewhere.

        Raises:
            UserError: nobody trained it yet, or the file is not a judge's.
        """
        if path is None:
            return _shipped()
        state, metadata = read_weights(path)
        net = SignNet()
        load_strict(net, {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, path)
        try:
            return cls(net, json.loads(metadata.get("accuracy", "{}")))
        except ValueError as error:
            raise UserError(
                f"'{path}' has no readable accuracy in its metadata: it is not a judge's file"
            ) from error

    def save(self, path: str | Path, recipe: str = "") -> None:
        """Keep the judge as float16 safetensors, its accuracy in the metadata."""
        from safetensors.torch import save_file

        state = {
            k: (v.half() if v.is_floating_point() else v).contiguous()
            for k, v in self.net.state_dict().items()
        }
        save_file(state, str(path), {"accuracy": json.dumps(self.accuracy), "recipe": recipe})

    @torch.no_grad()
    def read(self, clips: Tensor, batch_size: int = 32) -> list[SignReading]:
        """One reading for each clip of (B, 3, T, H, W) in [-1, 1], of any size and length.

        Raises UserError when the tensor is of another kind or holds values that are not finite.
        """
        found: list[SignReading] = []
        for part in clips.split(batch_size) if len(clips) else ():
            frames = prepared(part).transpose(1, 2).flatten(0, 1)
            spelled, whole = self.net(frames)
            chance = whole.sigmoid().unflatten(0, (len(part), FRAMES))  # (b, T)
            weights = chance / chance.sum(1, keepdim=True)
            logits = spelled.log_softmax(2).unflatten(0, (len(part), FRAMES))
            answers = (logits * weights[:, :, None, None]).sum(1).softmax(2)  # (b, S, A)
            sure, best = answers.max(2)
            for k, there in enumerate(chance.amax(1).tolist()):
                word, doubt = "", 1.0
                for code, p in zip(best[k].tolist(), sure[k].tolist()):
                    doubt *= p
                    if code == BLANK:
                        break
                    word += ALPHABET[code]
                if there < 0.5 or not word:
                    word, doubt, there = "", 1.0, 1 - there
                found.append(SignReading(word=word, probability=there * doubt))
        return found


@lru_cache(maxsize=1)
def _shipped() -> SignJudge:
    with resources.as_file(resources.files("kinema.world").joinpath(ASSET)) as path:
        if not path.exists():
            raise UserError(
                "this copy of kinema has no trained sign reader: make one with "
                "`python -m kinema.world.judges.signs train`, or pass the path of one"
            )
        return SignJudge.load(path)


def measure(judge: SignJudge, split: str = "val", clips: int = 1000, first: int = 0) -> dict[str, float]:
    """The judge's accuracy on true renders of words that it never saw, half of the clips of each vocabulary.

    exact: words read right to the last character; characters: slots read right; none: clips without a sign (a quarter
    as many) in which none was read.
    """
    count: Counter[str] = Counter()
    for vocabulary in ("nano", "full"):
        for odds, total in ((1.0, clips // 2), (0.0, clips // 8)):
            spec = WorldSpec(vocabulary="nano" if vocabulary == "nano" else "full", sign_odds=odds)
            for start in range(first, first + total, 32):
                scenes = [sample_scene(split, k, spec) for k in range(start, min(start + 32, first + total))]
                for scene, reading in zip(scenes, judge.read(to_float(render(scenes)))):
                    wanted, seen = sign_word(scene).ljust(SLOTS), reading.word.ljust(SLOTS)
                    if odds == 0:
                        count.update(bare=1, none=int(reading.word == ""))
                        continue
                    count.update(clips=1, exact=int(wanted == seen))
                    count.update(slots=SLOTS, characters=sum(a == b for a, b in zip(wanted, seen)))
    return {
        "exact": round(count["exact"] / max(count["clips"], 1), 4),
        "characters": round(count["characters"] / max(count["slots"], 1), 4),
        "none": round(count["none"] / max(count["bare"], 1), 4),
    }


# --- the recipe -------------------------------------------------------------------------------------------------

SEED = 11
STEPS = 2400
SCENES = 16  # of a batch, with four frames each
LEARNING_RATE = 4e-3
KEPT = 80  # lessons that are kept to be learned once more: drawing them costs more than a step


def loss(
    net: SignNet, batch: dict[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Where the word is, whether it is whole, and what whole words say.

    The strip is cut where the network found the word, if that is not far off, else at the true place moved a little.
    """
    frames, box, present, whole = batch["frames"], batch["box"], batch["present"], batch["whole"]
    seen = net.find(frames)
    middle = box[:, :2].clamp(-0.5, 0.5)
    distance = (net.grid[None] - middle[:, :2, None]).square().sum(1)  # (N, 64)
    heat = (-distance / (2 * 0.08**2)).softmax(1)
    place = F.cross_entropy(seen.score[present], heat[present])
    place = place + 10 * F.smooth_l1_loss(seen.box[whole], box[whole], beta=0.02)
    there = F.binary_cross_entropy_with_logits(seen.whole, whole.float())
    found, true = seen.box.detach()[whole], box[whole]
    height = true[:, 2:].exp()
    error = torch.cat([(found - true)[:, :2] / height, 2 * (found - true)[:, 2:]], 1)
    jitter = 0.15 * torch.randn(true.shape, generator=generator)
    jitter = torch.cat([jitter[:, :2] * height, 0.5 * jitter[:, 2:]], 1)
    near = (error.abs().amax(1) < 0.5)[:, None]
    logits = net.spell(frames[whole], torch.where(near, found, true + jitter))
    wanted = batch["code"][whole]
    characters = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=0.02)
    right = (logits.argmax(2) == wanted).all(1).float().mean()
    logs = {
        "place": place.item(),
        "whole": there.item(),
        "characters": characters.item(),
        "found": near.float().mean().item(),
        "words right": right.item(),
    }
    return place + there + 2 * characters, logs


def train(path: str | Path, steps: int = STEPS, scenes: int = SCENES, clips: int = 1000) -> SignJudge:
    """Train a judge from scratch, measure it on `clips` true renders, and keep it at `path`."""
    began = time.monotonic()
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = SignNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    lessons: list[dict[str, Tensor]] = []
    for step in range(steps):
        if step % 2 == 0:
            batch = lesson(range(step // 2 * scenes, (step // 2 + 1) * scenes), generator)
            lessons = [*lessons[-KEPT + 1 :], batch]
        else:
            batch = lessons[int(torch.randint(len(lessons), (), generator=generator))]
        total, logs = loss(net, batch, generator)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49 or step == steps - 1:
            told = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
            _say(f"step {step + 1}: {told}; {time.monotonic() - began:.0f} s")
    recipe = (
        f"python -m kinema.world.judges.signs train; seed {SEED}, {steps} steps of {scenes * MOMENTS} frames"
    )
    SignJudge(net).save(path, recipe)
    judge = SignJudge.load(path)  # measured as it is kept: in half precision
    judge.accuracy = measure(judge, clips=clips)
    judge.save(path, recipe)
    return judge


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """`train [PATH]` or `evaluate [PATH]`; PATH defaults to the judge inside the package."""
    if not arguments or arguments[0] not in ("train", "evaluate") or len(arguments) > 2:
        sys.stderr.write("usage: python -m kinema.world.judges.signs {train,evaluate} [PATH]\n")
        return 2
    path = Path(arguments[1]) if len(arguments) > 1 else Path(str(resources.files("kinema.world"))) / ASSET
    found = train(path).accuracy if arguments[0] == "train" else measure(SignJudge.load(path))
    for name, value in found.items():
        _say(f"{name:12s} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
