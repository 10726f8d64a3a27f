"""A network that sees, small enough for tests: its features are the mean colour of what it looks at."""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch
from torch import nn

from kinema.data.preprocessing import Preprocessing
from kinema.vision import Vision
from kinema.vision.pipeline import image_networks

SEEN = Preprocessing(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Colours(nn.Module):
    """Images (B, 3, H, W) to their mean colour, and to three classes: which colour is strongest."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.scale = nn.Parameter(torch.ones(()))

    def dense(self, x):
        if min(x.shape[2:]) < 2:
            raise ValueError("there are no pixels enough")
        return self.blocks[1](self.blocks[0](x) * self.scale)

    def features(self, x):
        return self.dense(x).mean((2, 3))

    def forward(self, x):
        return 10 * self.features(x)


def tiny(classes: bool = True, **options) -> Vision:
    network = Colours()
    parts = image_networks(network, SEEN, classes=classes)
    return Vision(parts, name="tiny", labels={"image": ["red", "green", "blue"]}, weights_hash="0", **options)


def picture(path, colour=(255, 0, 0), size=(12, 10)):
    PIL.Image.fromarray(np.broadcast_to(np.uint8(colour), (*size[::-1], 3)).copy()).save(path)
    return path
