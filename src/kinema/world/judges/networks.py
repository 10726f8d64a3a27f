"""The two networks that look at clips: one at what is seen in a frame, one at how it moves.

B clips, N frames, T frames of a clip; pixels in [-1, 1], 64 x 64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE, FRAMES = 64, 16  # what the networks were trained on
_LUMA = (0.299, 0.587, 0.114)


def luminance(clips: Tensor) -> Tensor:
    """(B, 3, ...) -> (B, 1, ...), the weighted mean of the colours."""
    weights = clips.new_tensor(_LUMA).view(1, 3, *[1] * (clips.ndim - 2))
    return (clips * weights).sum(1, keepdim=True)


def _conv2d(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _conv3d(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    size, step, pad = (kernel, 3, 3), (1, stride, stride), (kernel // 2, 1, 1)
    conv = nn.Conv3d(inputs, outputs, size, step, pad, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


class AppearanceNet(nn.Module):
    """Which object a single frame shows, and where it stands: 47 MFLOP a frame.

    A first look finds the subject (place and size) and reads the background; a second look reads the subject in a
    window cut out around it, so that the many objects need not be learned at every place and size.
    """

    WINDOW = 32  # pixels of the cut-out
    MARGIN = 1.2  # side of the window over the subject's size

    def __init__(self, num_objects: int, num_backgrounds: int, width: int = 160) -> None:
        super().__init__()
        self.width = width
        self.look = nn.Sequential(_conv2d(48, 32), _conv2d(32, 64, 2), _conv2d(64, 64))
        self.place = nn.Conv2d(64, 4, 1)  # score, offset x, offset y, log size
        self.background = nn.Linear(64, num_backgrounds)
        self.read = nn.Sequential(
            _conv2d(12, 48),
            _conv2d(48, 96, 2),
            _conv2d(96, 112),
            _conv2d(112, width, 2),
            _conv2d(width, width),
        )
        self.object = nn.Linear(2 * width, num_objects)
        steps = (torch.arange(8) + 0.5) / 8 - 0.5
        self.grid: Tensor
        self.register_buffer(
            "grid", torch.stack([steps.repeat(8), steps.repeat_interleave(8)]), persistent=False
        )

    def find(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 64, 64) -> boxes (N, 3): x, y, log size of the subject in frame heights; scores (N, 64); logits."""
        x = F.pixel_unshuffle(frames, 4).contiguous(memory_format=torch.channels_last)  # (N, 48, 16, 16)
        x = self.look(x)  # (N, 64, 8, 8)
        score, dx, dy, size = self.place(x).flatten(2).unbind(1)  # each (N, 64)
        weights = score.softmax(1)
        guess = torch.stack([self.grid[0] + 0.25 * dx, self.grid[1] + 0.25 * dy, size * 0.5 - 0.8], 1)
        return (guess * weights[:, None]).sum(2), score, self.background(x.mean((2, 3)))

    def cut(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """The window around each box: (N, 3, H, W), (N, 3) -> (N, 3, 32, 32); outside the frame it is grey."""
        half = self.MARGIN * boxes[:, 2].clamp(-3, 1).exp()  # half a window in units of half a frame
        theta = frames.new_zeros(len(frames), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = half
        theta[:, :, 2] = 2 * boxes[:, :2]
        grid = F.affine_grid(theta, [len(frames), 3, self.WINDOW, self.WINDOW], align_corners=False)
        return F.grid_sample(frames, grid, align_corners=False)

    def describe(self, windows: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> features of the subject (N, 2 * width): mean and maximum over places."""
        x = F.pixel_unshuffle(windows, 2).contiguous(memory_format=torch.channels_last)  # (N, 12, 16, 16)
        x = self.read(x)  # (N, width, 4, 4)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    def recognise(self, frames: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Frames and boxes (N, 3) -> logits of objects, features of the subject."""
        features = self.describe(self.cut(frames, boxes))
        return self.object(features), features

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 64, 64) -> logits of objects, logits of backgrounds, features of the subject."""
        boxes, _, grounds = self.find(frames)
        objects, features = self.recognise(frames, boxes)
        return objects, grounds, features


class DynamicsNet(nn.Module):
    """What the subject and the camera do over a clip: 170 MFLOP a clip of 16 frames.

    It sees the luminance at full resolution, its change from frame to frame, and the colours coarsely; each frame
    becomes 128 numbers that still know places, and two convolutions over time follow.
    """

    def __init__(
        self,
        num_acts: int,
        num_cameras: int,
        widths: tuple[int, int, int] = (24, 48, 64),
        frame_width: int = 128,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.width, self.frame_width = 2 * frame_width, frame_width
        self.space = _conv3d(35, first, 1, 1)
        self.motion = nn.Sequential(_conv3d(first, second, 3, 2), _conv3d(second, third, 3, 2))
        self.frame = nn.Linear(third * 16, frame_width)
        self.time = nn.ModuleList(nn.Conv1d(frame_width, frame_width, 5, padding=2) for _ in range(2))
        self.track = nn.Conv1d(frame_width, 7, 1)  # taught to follow subject and camera, see lessons.track
        self.act = nn.Linear(self.width, num_acts)
        self.camera = nn.Linear(self.width, num_cameras)

    def per_frame(self, clips: Tensor) -> Tensor:
        """(B, 3, T, 64, 64) -> (B, frame_width, T)."""
        frames = clips.shape[2]
        flat = clips.transpose(1, 2).flatten(0, 1)  # (B*T, 3, 64, 64)
        luma = luminance(clips)
        change = 2 * torch.diff(luma, dim=2, prepend=luma[:, :, :1])
        seen = torch.cat(
            [
                F.pixel_unshuffle(
                    torch.cat([luma, change], 1).transpose(1, 2).flatten(0, 1), 4
                ),  # (B*T, 32, 16, 16)
                F.avg_pool2d(flat, 4),
            ],
            1,
        )
        x = seen.unflatten(0, (-1, frames)).transpose(1, 2)  # (B, 35, T, 16, 16)
        x = self.motion(self.space(x.contiguous(memory_format=torch.channels_last_3d)))  # (B, third, T, 4, 4)
        x = F.relu(self.frame(x.permute(0, 2, 1, 3, 4).flatten(2))).transpose(1, 2)  # (B, frame_width, T)
        for layer in self.time:
            x = x + F.relu(layer(x))
        return x

    def pool(self, per_frame: Tensor) -> Tensor:
        """(B, frame_width, T) -> (B, 2 * frame_width): mean and maximum over time."""
        return torch.cat([per_frame.mean(2), per_frame.amax(2)], 1)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, T, 64, 64) -> logits of acts (B, acts) and of camera motions (B, cameras), the track (B, 7, T)."""
        frames = self.per_frame(clips)
        pooled = self.pool(frames)
        return self.act(pooled), self.camera(pooled), self.track(frames)
