from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.world import sample_scene
from kinema.world.colours import colour_depth, colour_flow, colour_masks, colour_thermal
from kinema.world.show import contact_sheet
from kinema.world.sound_picture import sound_picture, spectrogram


def test_a_page_has_every_strip() -> None:
    scenes = [sample_scene("train", i) for i in range(3)]
    page = contact_sheet(scenes, 2, frames=3, frame_height=48)
    assert page.pixels.dtype == np.uint8
    taller = contact_sheet(scenes, 1, frames=3, frame_height=48)
    assert page.width > 1.7 * taller.width - 100
    assert taller.height > page.height
    titled = contact_sheet(scenes[:1], frames=3, frame_height=48, title="A world")
    assert titled.height > contact_sheet(scenes[:1], frames=3, frame_height=48).height


def test_the_row_of_truth_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = sample_scene("train", 8)
    bare = contact_sheet([scene], frames=6, frame_height=48)
    full = contact_sheet([scene], frames=6, frame_height=48, truth=True)
    assert full.width == bare.width
    assert full.height > bare.height + 48
    monkeypatch.setitem(sys.modules, "kinema.world.sound", None)
    picture, label = sound_picture(scene, 48, 48)
    assert label == "no sound"
    assert picture.shape == (48, 48, 3)


def test_a_tone_stands_at_its_pitch() -> None:
    rate, height = 48000, 90
    wave = torch.sin(
        2 * torch.pi * 1131.37 * torch.arange(rate) / rate
    )  # the middle of 80 to 16000 Hz in octaves
    level = spectrogram(wave, rate, height, 40)
    assert level.shape == (height, 40)
    assert abs(int(level[:, 20].argmax()) - height / 2) <= 2
    assert level.amin() >= 0


def test_colours_say_what_they_mean() -> None:
    metres = torch.tensor([[2.0, 100.0]])
    near, far = colour_depth(metres)[0].astype(int)
    assert near.sum() > far.sum() + 300
    cold, hot = colour_thermal(torch.tensor([[0.0, 36.0]]))[0].astype(int)
    assert hot.sum() > cold.sum() + 400
    still = colour_flow(torch.zeros(2, 1, 1))
    assert (still == 255).all()
    right, left = colour_flow(torch.tensor([[[1.0, -1.0]], [[0.0, 0.0]]]))[0].astype(int)
    assert right[0] > left[0] + 100, "to the right is red"
    over = colour_masks(np.zeros((1, 2, 3), np.uint8), torch.tensor([[[1.0, 0.0]]]))
    assert over[0, 0].sum() > over[0, 1].sum()


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no scenes to show"):
        contact_sheet([])
    with pytest.raises(UserError, match="expected at least 1, 2, 48"):
        contact_sheet([sample_scene("train", 0)], frames=1)
