"""The training of the visual judges: frames, the objects in them, clips, then a second look that uses all of it.

    python -m kinema.world.judges.video train --out runs/judges

About half an hour on one core of its own. Interrupted, the same command continues. At the end the judge is measured on
held-out scenes of every split and written, as float16, into one file with the figures in its metadata.

The weights that come with kinema were made by these stages, but one at a time, while the code around them still moved:
a run of today has the same steps and scenes, and gives figures like theirs rather than the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.train import BatchIndex, Stage, make_generator, run_stages
from kinema.world.judges.acts import Evidence, Motion, new_motion
from kinema.world.judges.labels import groups
from kinema.world.judges.lessons import Course, clips_lesson, frames_lesson
from kinema.world.judges.networks import AppearanceNet

FULL = Course(frame_steps=1400, reading_steps=600, clip_steps=700, act_steps=3000, act_lessons=240)
SEED = 20


def group_loss(logits: Tensor, wanted: Tensor, attribute: str) -> Tensor:
    """Cross-entropy of a group (family, colour) whose probability is the sum of its members'."""
    group = groups()[attribute].to(logits.device)
    member = group[None] == group[wanted][:, None]
    return (logits.logsumexp(1) - logits.masked_fill(~member, -torch.inf).logsumexp(1)).mean()


def appearance_loss(
    net: nn.Module, batch: dict[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Where the subject is, the background, and in a window near it the object, its family and its colour.

    The window is the one that the network found where that is not far off, else the true one, moved a little.
    """
    assert isinstance(net, AppearanceNet)
    frames, wanted, box = batch["frames"], batch["object"], batch["box"]
    guess, score, grounds = net.find(frames)
    inside = torch.cat([box[:, :2].clamp(-0.5, 0.5), box[:, 2:]], 1)
    distance = (net.grid[None] - inside[:, :2, None]).square().sum(1)  # (N, 64)
    heat = (-distance / (2 * 0.08**2)).softmax(1)
    place = F.cross_entropy(score, heat) + 4 * F.smooth_l1_loss(guess, inside, beta=0.05)
    jitter = 0.07 * torch.randn(box.shape, generator=generator)
    jitter[:, :2] *= box[:, 2:].exp()
    error = (guess.detach() - inside) / torch.cat(
        [box[:, 2:].exp().expand(-1, 2), torch.ones_like(box[:, 2:])], 1
    )
    near = (error.abs().amax(1) < 0.3)[:, None]
    objects = net.recognise(frames, torch.where(near, guess.detach(), inside + jitter))[0]
    identity = F.cross_entropy(objects, wanted, label_smoothing=0.05)
    family, colour = group_loss(objects, wanted, "family"), group_loss(objects, wanted, "colour")
    ground = F.cross_entropy(grounds, batch["background"])
    logs = {
        "identity": identity.detach(),
        "place": place.detach(),
        "found": near.float().mean(),
        "right": (objects.argmax(1) == wanted).float().mean(),
        "ground_right": (grounds.argmax(1) == batch["background"]).float().mean(),
    }
    return identity + 0.3 * family + 0.15 * colour + 0.3 * ground + 0.5 * place, logs


def reading_loss(
    net: nn.Module, batch: dict[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The object in the window that was found, as it will be when the network judges; a lost one is left out."""
    assert isinstance(net, AppearanceNet)
    frames, wanted, box = batch["frames"], batch["object"], batch["box"]
    with torch.no_grad():
        found, _, _ = net.find(frames)
    error = torch.cat([(found - box)[:, :2] / box[:, 2:].exp(), 0.5 * (found - box)[:, 2:]], 1)
    kept = error.abs().amax(1) < 0.5
    objects, _ = net.recognise(frames[kept], found[kept])
    identity = F.cross_entropy(objects, wanted[kept], label_smoothing=0.05)
    family, colour = (group_loss(objects, wanted[kept], name) for name in ("family", "colour"))
    right = (objects.argmax(1) == wanted[kept]).float().mean()
    logs = {"identity": identity.detach(), "right": right, "kept": kept.float().mean()}
    return identity + 0.3 * family + 0.15 * colour, logs


def dynamics_loss(
    net: nn.Module, batch: dict[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Act and camera, and frame by frame where the subject is and how the camera steps."""
    acts, cameras, path = net(batch["clips"])
    act, camera = F.cross_entropy(acts, batch["act"]), F.cross_entropy(cameras, batch["camera"])
    follow = F.smooth_l1_loss(path, batch["track"], beta=0.3)
    logs = {
        "act": act.detach(),
        "track": follow.detach(),
        "act_right": (acts.argmax(1) == batch["act"]).float().mean(),
        "camera_right": (cameras.argmax(1) == batch["camera"]).float().mean(),
    }
    return act + 0.5 * camera + 2 * follow, logs


def act_loss(
    net: nn.Module, batch: tuple[Evidence, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The act, from what the other networks found."""
    evidence, wanted = batch
    acts = net(evidence)
    right = (acts.argmax(1) == wanted).float().mean()
    return F.cross_entropy(acts, wanted), {"act_right": right}


def frame_batches(index: BatchIndex) -> dict[str, Tensor]:
    """Two frames a scene: the sample numbers of a microbatch are those of its frames."""
    return frames_lesson(range(index.indices.start // 2, index.indices.stop // 2), index.generator())


def more_frames(source: str) -> Callable[[BatchIndex], dict[str, Tensor]]:
    """As `frame_batches`, of other scenes, and fewer of them spoilt."""

    def batches(index: BatchIndex) -> dict[str, Tensor]:
        scenes = range(index.indices.start // 2, index.indices.stop // 2)
        return frames_lesson(scenes, index.generator(), source=source, spoilt=0.35)

    return batches


def evidence_batches(motion: Motion, lessons: int) -> Callable[[BatchIndex], tuple[Evidence, Tensor]]:
    """Evidence of clips, gathered once for each of `lessons` batches of 64 clips and then drawn from anew."""
    store: list[tuple[Evidence, Tensor]] = []

    def lesson(number: int) -> tuple[Evidence, Tensor]:
        generator = make_generator(SEED, "acts", number)
        batch = clips_lesson(range(32 * number, 32 * number + 32), generator, source="acts", spoilt=0.3)
        with torch.no_grad():
            evidence, _ = motion.eval().gather(batch["clips"])
        return evidence, batch["act"]

    def batches(index: BatchIndex) -> tuple[Evidence, Tensor]:
        if not store:
            parts = [lesson(number) for number in range(lessons)]
            whole = [torch.cat([getattr(p[0], f.name) for p in parts]) for f in fields(Evidence)]
            store.append((Evidence(*whole), torch.cat([p[1] for p in parts])))
        evidence, acts = store[0]
        rows = torch.randint(len(acts), (len(index.indices),), generator=index.generator())
        return Evidence(*(getattr(evidence, f.name)[rows] for f in fields(Evidence))), acts[rows]

    return batches


def clip_batches(index: BatchIndex) -> dict[str, Tensor]:
    """A clip and its mirror image a scene."""
    return clips_lesson(range(index.indices.start // 2, index.indices.stop // 2), index.generator())


def _channels_last(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _only(*learning: str) -> Callable[[nn.Module], None]:
    """Prepare a frame network whose other parts stay as they are."""

    def prepare(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in learning)
        _channels_last(model)

    return prepare


def stages(motion: Motion, course: Course = FULL) -> list[Stage]:
    """Frames, what is read in them, clips, the second look; the learning rate falls to zero at the end of each."""
    common: dict[str, Any] = {
        "weight_decay": 0.03,
        "schedule": "linear",
        "log_every": 25,
        "checkpoint_every": 100,
    }
    return [
        Stage(
            name="frames",
            model=motion.appearance,
            loss=appearance_loss,
            batches=frame_batches,
            steps=course.frame_steps,
            batch_size=course.frame_batch,
            lr=4e-3,
            warmup_steps=min(50, course.frame_steps // 4),
            prepare=_channels_last,
            **common,
        ),
        Stage(
            name="reading",
            model=motion.appearance,
            loss=reading_loss,
            batches=more_frames("reading"),
            steps=course.reading_steps,
            batch_size=course.frame_batch,
            lr=2e-3,
            warmup_steps=min(30, course.reading_steps // 4),
            prepare=_only("read", "object"),
            **common,
        ),
        Stage(
            name="clips",
            model=motion.dynamics,
            loss=dynamics_loss,
            batches=clip_batches,
            steps=course.clip_steps,
            batch_size=course.clip_batch,
            lr=3e-3,
            warmup_steps=min(50, course.clip_steps // 4),
            prepare=_channels_last,
            **common,
        ),
        Stage(
            name="acts",
            model=motion.acts,
            loss=act_loss,
            batches=evidence_batches(motion, course.act_lessons),
            steps=course.act_steps,
            batch_size=2 * course.clip_batch,
            lr=1e-3,
            warmup_steps=min(30, course.act_steps // 4),
            **common,
        ),
    ]


def train(out: Path, course: Course = FULL, *, resume: str = "auto") -> Motion:
    """Train the networks from scratch, or go on where the run folder stands."""
    torch.manual_seed(SEED)
    motion = new_motion()
    run_stages(stages(motion, course), out, seed=SEED, resume=resume, precision="fp32")
    return motion.eval()
