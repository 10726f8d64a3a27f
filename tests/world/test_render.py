from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinema.errors import UserError
from kinema.world import CAMERAS, WorldSpec, sample_scene
from kinema.world.renderer import actor_layers, background_layer, geometry, render
from kinema.world.truth import masks


def test_equal_input_gives_equal_pictures() -> None:
    scenes = [sample_scene("train", i) for i in range(4)]
    first, again = render(scenes, 5), render(list(scenes), 5)
    assert first.dtype == torch.uint8
    assert first.shape == (4, 3, 5, 64, 64)
    assert torch.equal(first, again)
    assert len({clip.numpy().tobytes() for clip in first}) == 4


@pytest.mark.parametrize("height", [64, 128])
def test_a_batch_of_two_is_two_batches(an_actor, a_scene, height: int) -> None:
    pair = [
        a_scene(
            an_actor("fox", "roll", "left"),
            an_actor("owl", size=0.2, depth=9.0, x=0.3),
            camera="pan left",
            amount=0.4,
        ),
        a_scene(an_actor("bus", "spin", "clockwise"), finish="appealing", background="beach"),
    ]
    both = render(pair, 4, height, height)
    assert torch.equal(both, torch.cat([render([s], 4, height, height) for s in pair]))


def test_a_large_neighbour_changes_nothing(an_actor, a_scene) -> None:
    small, large = a_scene(an_actor(size=0.45)), a_scene(an_actor("bus", size=0.9))
    assert torch.equal(render([small, large], 2)[:1], render([small], 2))


def test_frame_i_shows_the_time_i_over_the_rate(an_actor, a_scene) -> None:
    scenes = [
        a_scene(an_actor("fox", "bounce", "left"), camera="zoom in", amount=0.1),
        a_scene(an_actor("bus", "spin", "clockwise"), camera="tilt up", amount=0.4),
    ]
    fast, slow = render(scenes, 16, fps=8.0), render(scenes, 8, fps=4.0)
    assert torch.equal(fast[:, :, ::2], slow)
    assert not torch.equal(fast[:, :, 1::2], slow)


def test_sizes_agree(an_actor, a_scene) -> None:
    scenes = [
        a_scene(an_actor("fox", "roll", "left"), camera="pan right", amount=0.4),
        a_scene(an_actor("bus")),
    ]
    large, small = render(scenes, 4, 128, 128).float(), render(scenes, 4, 64, 64).float()
    reduced = F.avg_pool3d(large, (1, 2, 2))
    assert (reduced - small).abs().mean() < 4
    wide = render(scenes, 4, 64, 96).float()
    assert (wide[..., 16:80] - small).abs().max() <= 1, "a wider frame shows the same middle"


def test_a_pan_moves_the_background_by_the_stated_amount(a_scene) -> None:
    frames, height = 9, 64
    amount = 0.5  # in 2 s: at 8 frames a second 2 pixels of 64 a frame
    for camera, axis, step in (
        ("pan right", -1, 2),
        ("pan left", -1, -2),
        ("tilt down", -2, 2),
        ("tilt up", -2, -2),
    ):
        scaled = amount / 0.8 if camera.startswith("tilt") else amount
        scene = a_scene(camera=camera, amount=scaled)
        picture = background_layer([scene], geometry([scene], frames, 8.0), height, height)[0]
        for i in range(frames - 1):
            moved = picture[:, i + 1].roll(step, axis)
            inner = slice(None), slice(4, -4), slice(4, -4)
            assert (moved[inner] - picture[:, i][inner]).abs().max() < 1 / 255
        assert (picture[:, 0] - picture[:, -1]).abs().mean() > 0.01


def test_a_pan_found_by_phase_correlation(a_scene) -> None:
    scene = a_scene(camera="pan left", amount=0.375, background="city")  # 24 pixels of 128 in half of the way
    picture = background_layer([scene], geometry([scene], 17, 8.0), 128, 128)[0].mean(0).numpy()
    a, b = picture[0], picture[8]
    window = np.hanning(128)[:, None] * np.hanning(128)[None]
    cross = np.fft.fft2((a - a.mean()) * window) * np.conj(np.fft.fft2((b - b.mean()) * window))
    peak = np.unravel_index(np.argmax(np.fft.ifft2(cross / (np.abs(cross) + 1e-9)).real), a.shape)
    assert peak == (0, 128 - 24)  # the picture goes to the right while the camera goes to the left


def test_zoom_magnifies_about_the_middle(an_actor, a_scene) -> None:
    scene = a_scene(an_actor("soccer ball", size=0.4), camera="zoom in", amount=math.log(2.0))
    clip = render([scene], 17, 64, 64).float()[0]
    first, last = clip[:, 0, 16:48, 16:48], clip[:, -1]
    assert (F.avg_pool2d(last, 2) - first).abs().mean() < 6
    area = masks([scene], 17)[0, 0].sum((-1, -2))
    assert float(area[-1] / area[0]) == pytest.approx(4, rel=0.03)


def test_mirrored_artwork_is_the_mirror_image(an_actor, a_scene) -> None:
    plain, mirrored = a_scene(an_actor("bus")), a_scene(an_actor("bus", mirrored=True))
    pictures = [actor_layers(geometry([s], 1, 8.0), 0, 64, 64) for s in (plain, mirrored)]
    assert torch.allclose(pictures[0].flip(-1), pictures[1], atol=1e-5)
    assert (pictures[0] - pictures[1]).abs().mean() > 1e-3


def test_a_spin_turns_clockwise_on_the_screen(an_actor, a_scene) -> None:
    scene = a_scene(an_actor("bus", "spin", "clockwise", amplitude=1.9))  # a turn a second
    layer = actor_layers(geometry([scene], 5, 4.0), 0, 65, 65)[0, 3]
    assert torch.allclose(layer[0].rot90(-1), layer[1], atol=1e-4)  # a quarter, clockwise
    assert torch.allclose(layer[0], layer[4], atol=1e-3)


def test_a_still_camera_leaves_the_background_constant() -> None:
    scenes = [s for s in (sample_scene("train", i) for i in range(60)) if s.camera == "static"][:5]
    picture = background_layer(scenes, geometry(scenes, 6, 8.0), 64, 64)
    assert torch.equal(picture, picture[:, :, :1].expand_as(picture))
    moving = [s for s in (sample_scene("train", i) for i in range(60)) if s.camera != "static"][:5]
    assert {s.camera for s in moving} <= set(CAMERAS)
    picture = background_layer(moving, geometry(moving, 6, 8.0), 64, 64)
    assert (picture[:, :, 1:] - picture[:, :, :-1]).abs().flatten(1).mean(1).min() > 1e-3


def test_the_appealing_finish_is_visible_and_leaves_its_neighbours_alone() -> None:
    plain = [sample_scene("train", i, WorldSpec(appealing=0.0)) for i in range(4)]
    fine = [sample_scene("train", i, WorldSpec(appealing=1.0)) for i in range(4)]
    apart, mixed = render(plain, 2), render([fine[0], *plain[1:]], 2)
    assert torch.equal(apart[1:], mixed[1:])
    assert (apart[0].float() - mixed[0].float()).abs().mean() > 5


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"num_frames": 0}, "every number must be at least 1"),
        ({"height": 0}, "every number must be at least 1"),
        ({"width": -4}, "every number must be at least 1"),
        ({"fps": 0.0}, "every number must be at least 1"),
        ({"fps": 2000.0}, "the rate at most 1000"),
        ({"height": 32, "width": 80}, "make it narrower"),
        ({"num_frames": 100_000, "height": 512, "width": 512}, "too many for one batch"),
    ],
)
def test_sizes_that_cannot_be_drawn_are_refused(a_scene, size: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        render([a_scene()], **size)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=sentence):
        masks([a_scene()], **size)  # type: ignore[arg-type]
