"""The second look at a subject's motion: its path frame by frame, freed of the camera's, its growth and its turning.

A clip network alone takes long to tell a roll from a slide, slow growth from rest, or a slide along with a panning
camera from standing still. Here the subject's boxes, which the frame network found, are judged as a path, together with
how well its windows fit when they are scaled or turned.
B clips, T frames (16), L looks (8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.world.judges.labels import ACTS, names
from kinema.world.judges.networks import FRAMES, AppearanceNet, DynamicsNet
from kinema.world.judges.registration import CURVES, STARTS, curves

TRACK, BOX = (
    7,
    3,
)  # numbers a frame that the clip network was taught to follow (see lessons.track), and of a box
LOOKS = (0, 2, 4, 6, 9, 11, 13, 15)  # frames in which the subject is recognised
PAN, TILT, ZOOM = 0.43, 0.344, 0.485  # the camera's usual amounts over a clip
_PATHS = {
    "pan left": (-PAN, 0.0, 0.0),
    "pan right": (PAN, 0.0, 0.0),
    "tilt up": (0.0, -TILT, 0.0),
    "tilt down": (0.0, TILT, 0.0),
    "zoom in": (0.0, 0.0, ZOOM),
    "zoom out": (0.0, 0.0, -ZOOM),
}


@dataclass(frozen=True)
class Evidence:
    """What the other networks know of a clip's motion."""

    boxes: Tensor  # (B, 3, T): x, y, log size on the screen
    curves: Tensor  # (B, 25, 7): how well the subject's windows fit when scaled or turned
    frames: Tensor  # (B, F, T): the clip network's frames
    track: Tensor  # (B, 7, T): what it follows
    cameras: Tensor  # (B, cameras) logits
    acts: Tensor  # (B, acts) logits


class ActNet(nn.Module):
    """Corrects the clip network's logits of acts. The subject's path is freed of the camera's before it is judged."""

    def __init__(self, num_acts: int, num_cameras: int, frame_width: int, width: int = 64) -> None:
        super().__init__()
        steps = 2 * BOX + TRACK
        self.seen = nn.Conv1d(frame_width, 32, 1)
        self.path = nn.Linear(steps * FRAMES + num_cameras + CURVES * (1 + len(STARTS)), 160)
        self.first = nn.Conv1d(32 + steps, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.when = nn.Conv1d(width, 8, 1)
        self.mix = nn.Linear(2 * width + 8 * FRAMES + 160, 128)
        self.act = nn.Linear(128, num_acts)
        self.drop = nn.Dropout(0.15)
        ways = torch.tensor([_PATHS.get(camera, (0.0, 0.0, 0.0)) for camera in names()["camera"]])
        self.ways: Tensor  # (cameras, 3, T): x, y, log zoom of each camera motion
        self.register_buffer(
            "ways", ways[:, :, None] * (torch.arange(FRAMES) / FRAMES - 0.5), persistent=False
        )

    def freed(self, boxes: Tensor, cameras: Tensor) -> Tensor:
        """Boxes on the screen (B, 3, T) -> in the world, under the camera motion that is expected from its logits."""
        camera = torch.einsum("bc,cpt->bpt", cameras.softmax(1), self.ways)
        places = boxes[:, :2] * (-camera[:, 2:]).exp() + camera[:, :2]
        return torch.cat([places, boxes[:, 2:] - camera[:, 2:]], 1)

    def forward(self, known: Evidence) -> Tensor:
        """Evidence of B clips -> logits of acts (B, acts)."""
        scale = known.boxes.new_tensor([4.0, 4.0, 2.0])[:, None]
        level = known.boxes.new_tensor([0.0, 0.0, 0.8])[:, None]
        freed = self.freed(known.boxes, known.cameras)
        steps = torch.cat(
            [(known.boxes + level) * scale, (freed + level) * scale, known.track], 1
        )  # (B, 13, T)
        x = F.relu(self.first(torch.cat([F.relu(self.seen(known.frames)), steps], 1)))
        x = x + F.relu(self.second(x))
        fits = torch.cat([known.curves.flatten(1), 2 * known.curves.mean(2)], 1)
        path = torch.cat([steps.flatten(1), known.cameras.softmax(1), fits], 1)
        whole = [x.mean(2), x.amax(2), self.when(x).flatten(1), F.relu(self.path(path))]
        return known.acts + self.act(F.relu(self.mix(self.drop(torch.cat(whole, 1)))))


@dataclass(frozen=True)
class Seen:
    """What the networks make of clips: logits, and features of the subject and of the motion."""

    objects: Tensor  # (B, L, objects), one row a look
    grounds: Tensor  # (B, T, backgrounds)
    acts: Tensor  # (B, acts)
    cameras: Tensor  # (B, cameras)
    subject: Tensor  # (B, L, D)
    motion: Tensor  # (B, 2F)


class Motion(nn.Module):
    """Frame network, clip network and second look together: what the subject and the camera do."""

    def __init__(self, appearance: AppearanceNet, dynamics: DynamicsNet, acts: ActNet) -> None:
        super().__init__()
        self.appearance, self.dynamics, self.acts = appearance, dynamics, acts

    def gather(self, clips: Tensor) -> tuple[Evidence, Seen]:
        """(B, 3, T, 64, 64) -> evidence for the second look, and what is seen without it."""
        batch, _, frames = clips.shape[:3]
        found, _, grounds = self.appearance.find(clips.transpose(1, 2).flatten(0, 1))
        boxes = found.unflatten(0, (batch, frames)).transpose(1, 2)  # (B, 3, T)
        looks = [part[:, :, LOOKS].transpose(1, 2).flatten(0, 1) for part in (clips, boxes)]
        objects, subject = self.appearance.recognise(*looks)
        per_frame = self.dynamics.per_frame(clips)
        pooled = self.dynamics.pool(per_frame)
        acts, cameras = self.dynamics.act(pooled), self.dynamics.camera(pooled)
        evidence = Evidence(
            boxes=boxes,
            curves=curves(clips, boxes),
            frames=per_frame,
            track=self.dynamics.track(per_frame),
            cameras=cameras,
            acts=acts,
        )
        seen = Seen(
            objects=objects.unflatten(0, (batch, -1)),
            grounds=grounds.unflatten(0, (batch, frames)),
            acts=acts,
            cameras=cameras,
            subject=subject.unflatten(0, (batch, -1)),
            motion=pooled,
        )
        return evidence, seen

    def forward(self, clips: Tensor) -> Seen:
        """(B, 3, T, 64, 64) -> all that can be said of them."""
        evidence, seen = self.gather(clips)
        return replace(seen, acts=self.acts(evidence))


def new_motion() -> Motion:
    """All networks of the judge, not yet trained."""
    appearance = AppearanceNet(len(names()["identity"]), len(names()["background"]))
    dynamics = DynamicsNet(len(ACTS), len(names()["camera"]))
    return Motion(appearance, dynamics, ActNet(len(ACTS), len(names()["camera"]), dynamics.frame_width))
