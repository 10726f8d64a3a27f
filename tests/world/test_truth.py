from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.world import Scene, WorldSpec, sample_scene
from kinema.world.renderer import background_layer, pixel_grid, render
from kinema.world.truth import (
    CAMERA_HEIGHT,
    FAR,
    FOCAL,
    ImuNoise,
    depth,
    imu,
    layers,
    masks,
    optical_flow,
    stereo,
    temperature,
    thermal,
)
from kinema.world.truth.depth import background_rows, horizon
from kinema.world.truth.stereo import shifted_background

CROWD = WorldSpec(actor_odds=(0.2, 0.4, 0.4), appealing=0.0)
SCENES = [sample_scene("train", i, CROWD) for i in range(10)]


def warped(pictures: Tensor, offset: Tensor) -> Tensor:
    """What stands at p + offset: (B, C, T, H, W), (B, 2, T, H, W) pixels -> (B, C, T, H, W)."""
    height, width = pictures.shape[-2:]
    where = pixel_grid(height, width) + offset.movedim(1, -1) / height
    unit = where * torch.tensor([2 * height / width, 2.0])
    flat = F.grid_sample(
        pictures.transpose(1, 2).flatten(0, 1), unit.flatten(0, 1), padding_mode="border", align_corners=False
    )
    return flat.unflatten(0, (len(pictures), -1)).transpose(1, 2)


def test_masks_share_the_pixels(an_actor, a_scene) -> None:
    shares = masks(SCENES, 4)
    assert shares.shape == (10, 3, 4, 64, 64)
    assert shares.min() >= 0
    assert shares.sum(1).max() <= 1 + 1e-6
    for b, scene in enumerate(SCENES):
        assert float(shares[b, len(scene.actors) :].sum()) == 0
        assert shares[b, 0].sum() > 100, "the subject can be seen"
    hidden = a_scene(an_actor("soccer ball", size=0.6), an_actor("owl", size=0.2, depth=9.0))
    alone = a_scene(an_actor("owl", size=0.2, depth=9.0))
    assert masks([hidden], 1)[0, 1].sum() < 0.01 * masks([alone], 1)[0, 0].sum(), "the ball hides the owl"


def test_masks_and_the_background_make_the_picture(an_actor, a_scene) -> None:
    """Where only the background shows, the picture is the background."""
    apart = layers(SCENES, 3)
    behind = background_layer(SCENES, apart.geometry, 64, 64)
    picture = render(SCENES, 3).float() / 255
    free = (apart.behind == 1).expand_as(picture)
    assert (picture - behind)[free].abs().max() < 1 / 255
    assert torch.allclose(apart.visible.sum(1, keepdim=True) + apart.behind, torch.ones(()), atol=1e-5)


def test_depth_is_the_actors_own_and_the_ground_comes_nearer() -> None:
    metres, apart = depth(SCENES, 4), layers(SCENES, 4)
    assert metres.shape == (10, 1, 4, 64, 64)
    for b, scene in enumerate(SCENES):
        for k, actor in enumerate(scene.actors):
            shown = metres[b, 0][apart.front[b] == k]
            assert shown.numel() == 0 or (shown == torch.tensor(actor.depth)).all()
    rows = background_rows(SCENES, apart.geometry, 64)
    assert (rows[..., 1:] <= rows[..., :-1]).all()
    for b, scene in enumerate(SCENES):
        far, edge = FAR[scene.background], horizon(scene.background)
        y = pixel_grid(64, 1)[:, 0, 1] / apart.geometry.camera[b, :, 2:] + apart.geometry.camera[b, :, 1:2]
        assert (rows[b][y <= edge] == far).all()
        ground = y > edge + 0.01
        level = edge - CAMERA_HEIGHT * FOCAL / far
        assert torch.allclose(rows[b][ground], CAMERA_HEIGHT * FOCAL / (y[ground] - level), rtol=1e-4)


def test_actors_stand_before_the_ground_that_they_hide() -> None:
    scenes = [sample_scene("val", i, CROWD) for i in range(64)]
    apart = layers(scenes, 3, 32, 32, 1.5)
    behind = background_rows(scenes, apart.geometry, 32)[..., None]
    for k in range(3):
        nearer = apart.geometry.depth[:, k, None, None, None] < behind
        assert (nearer | (apart.front != k)).all()


def test_flow_leads_to_the_next_frame() -> None:
    clip = render(SCENES, 9, 96, 96).float() / 255
    flow = optical_flow(SCENES, 9, 96, 96)
    assert flow.pixels.shape == (10, 2, 8, 96, 96)
    error = (warped(clip[:, :, 1:], flow.pixels) - clip[:, :, :-1]).abs().mean(1, keepdim=True)
    still = (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean(1, keepdim=True)
    assert flow.visible.float().mean() > 0.9
    assert error[flow.visible].mean() < 0.01
    assert error[flow.visible].mean() < 0.3 * still[flow.visible].mean()
    assert error[flow.visible].mean() < 0.2 * error[~flow.visible].mean(), "what is hidden cannot be followed"


def test_flow_has_its_closed_forms(an_actor, a_scene) -> None:
    pan = optical_flow([a_scene(camera="pan right", amount=0.5)], 5).pixels  # 2 pixels of 64 a frame
    assert torch.allclose(pan[0, 0], torch.tensor(-2.0), atol=1e-4)
    assert torch.allclose(pan[0, 1], torch.tensor(0.0), atol=1e-4)
    slide = a_scene(an_actor("bus", "slide", "left"))
    flow, front = optical_flow([slide], 5).pixels[0], layers([slide], 5).front[0, :-1]
    assert torch.allclose(flow[0][front == 0], torch.tensor(-0.44 / 16 * 64), atol=1e-4)
    assert flow[:, front == -1].abs().max() < 1e-5
    zoom = optical_flow([a_scene(camera="zoom in", amount=0.5)], 5).pixels[0]
    expected = (pixel_grid(64, 64) * 64 * (math.exp(0.5 / 16) - 1)).permute(2, 0, 1)[:, None]
    assert torch.allclose(zoom, expected.expand_as(zoom), atol=1e-4)
    spin = a_scene(an_actor("bus", "spin", "clockwise"))
    flow, front = optical_flow([spin], 3, fps=200.0).pixels[0, :, 0], layers([spin], 3, fps=200.0).front[0, 0]
    place = pixel_grid(64, 64).permute(2, 0, 1) * 64
    on = front == 0
    radial = (flow * place).sum(0)[on].abs() / place.norm(dim=0)[on].square()
    assert radial.max() < 1e-2, "a spin moves across the radius"
    assert ((place[0] * flow[1] - place[1] * flow[0])[on] > 0).all(), "clockwise with y down"


def test_flow_is_invisible_where_it_is_hidden_or_leaves(an_actor, a_scene) -> None:
    pan = optical_flow([a_scene(camera="pan right", amount=0.5)], 2)
    assert not pan.visible[0, 0, 0, :, :2].any(), "two columns leave to the left"
    assert pan.visible[0, 0, 0, :10, 2:].all()
    crossing = a_scene(an_actor("soccer ball", "slide", "right", amplitude=2.0))
    flow = optical_flow([crossing], 2, fps=2.0)
    front = layers([crossing], 2, fps=2.0).front[0]
    covered = (front[0] == -1) & (front[1] == 0)
    assert covered.sum() > 50
    assert flow.visible[0, 0, 0][covered].float().mean() < 0.1


def test_disparity_is_focal_times_baseline_over_depth() -> None:
    pair, metres = stereo(SCENES, 3, baseline=0.2), depth(SCENES, 3)
    zoom = layers(SCENES, 3).geometry.camera[..., 2]
    assert torch.allclose(pair.calibration.focal, FOCAL * 64 * zoom)
    expected = FOCAL * 64 * zoom[:, None, :, None, None] * 0.2 / metres
    assert torch.allclose(pair.disparity, expected, rtol=1e-5)
    assert torch.allclose(pair.calibration.depth(pair.disparity), metres, rtol=1e-5)
    matrix = pair.calibration.matrix()
    assert matrix.shape == (10, 3, 3, 3)
    assert torch.allclose(matrix[:, :, 0, 0], pair.calibration.focal)
    assert matrix[0, 0, 0, 2] == 31.5


def test_the_right_view_is_where_the_disparity_says() -> None:
    pair = stereo(SCENES, 2, 96, 96, baseline=0.3)
    left, right = pair.left.float() / 255, pair.right.float() / 255
    assert torch.equal(pair.left, render(SCENES, 2, 96, 96))
    offset = torch.cat([-pair.disparity, torch.zeros_like(pair.disparity)], 1)
    error = (warped(right, offset) - left).abs().mean(1, keepdim=True)
    assert pair.visible.float().mean() > 0.8
    assert error[pair.visible].mean() < 0.01
    assert error[pair.visible].mean() < 0.2 * (right - left).abs().mean()
    assert error[pair.visible].mean() < 0.2 * error[~pair.visible].mean()


def test_an_actor_moves_by_its_disparity(an_actor, a_scene) -> None:
    scene = a_scene(an_actor("soccer ball", depth=2.0), background="room")
    near = stereo([scene], 1, baseline=0.25)  # 64 * 0.25 / 2 = 8 pixels
    assert torch.equal(
        near.disparity[0, 0, 0][layers([scene], 1).front[0, 0] == 0].unique(), torch.tensor([8.0])
    )
    opaque = masks([scene], 1)[0, 0, 0] == 1
    assert torch.equal(near.right[0, :, 0].roll(8, -1)[:, opaque], near.left[0, :, 0][:, opaque])


def test_no_baseline_gives_the_left_view_bit_for_bit() -> None:
    mixed = [*SCENES[:4], sample_scene("train", 3, WorldSpec(appealing=1.0))]
    pair = stereo(mixed, 3, baseline=0.0)
    assert torch.equal(pair.left, pair.right)
    assert pair.visible.all()
    geo = layers(mixed, 3).geometry
    drawn = shifted_background(mixed, geo, torch.zeros(5, 3, 64), 64, 64)
    assert torch.equal(drawn, background_layer(mixed, geo, 64, 64))
    with pytest.raises(UserError, match="the baseline is -1"):
        stereo(mixed, 1, baseline=-1)


def test_bodies_are_warm_and_the_sky_is_cold(an_actor, a_scene) -> None:
    names = {"fox": 36.0, "ice cream": -8.0, "hot coffee": 68.0}
    scenes = [a_scene(an_actor(name), background="snow") for name in names]
    degrees = thermal(scenes, 1, 128, 128)[:, 0, 0]
    for picture, scene, expected in zip(degrees, scenes, names.values()):
        own = temperature(scene.subject, "snow")
        assert own == pytest.approx(expected, abs=1.6)
        assert float(picture[62:66, 62:66].mean()) == pytest.approx(own, abs=1.0)
        assert picture[0].mean() < picture[40].mean() - 1, "the zenith is the coldest"
        assert picture[0].max() < 0
    hottest = divmod(int(degrees[0].argmax()), 128)
    assert math.dist(hottest, (64, 64)) < 40
    shares = masks(scenes[:1], 1, 128, 128)[0, 0, 0]
    step = (degrees[0][1:] - degrees[0][:-1]).abs().max()
    sharp = 36 * (shares[1:] - shares[:-1]).abs().max()
    assert step < 0.8 * sharp, "edges are soft"


def test_a_body_cools_towards_its_rim(an_actor, a_scene) -> None:
    scene = a_scene(an_actor("grinning face"), background="snow")  # round, air at -6 degrees
    degrees, peak = thermal([scene], 1, 128, 128)[0, 0, 0], temperature(scene.subject, "snow")
    out = (22.5 / 32) ** 2  # of the way from the middle to the side of its square, squared
    assert float(degrees[63:65, 64 + 22].mean()) == pytest.approx(peak - 0.25 * (peak + 6) * out, abs=0.5)


def test_thermal_numbers_are_plausible_everywhere() -> None:
    degrees = thermal(SCENES, 2)
    assert degrees.shape == (10, 1, 2, 64, 64)
    assert degrees.isfinite().all()
    assert degrees.min() > -70
    assert degrees.max() < 165


def test_the_gyroscope_adds_up_to_the_cameras_turn(a_scene) -> None:
    clean = ImuNoise.none()
    for camera, axis, turn in (
        ("pan right", 1, 0.5),
        ("pan left", 1, -0.5),
        ("tilt up", 0, 0.4),
        ("tilt down", 0, -0.4),
    ):
        turned = imu(a_scene(camera=camera, amount=0.5), 100.0, noise=clean).gyroscope
        assert turned.shape == (3, 200)
        total = turned.double().sum(1) / 100
        assert float(total[axis]) == pytest.approx(turn / FOCAL, abs=1e-5)
        assert float(total.abs().sum()) == pytest.approx(abs(turn) / FOCAL, abs=1e-5)
    static = imu(a_scene(), 100.0, noise=clean).readings
    zoom = imu(a_scene(camera="zoom in", amount=0.5), 100.0, noise=clean).readings
    assert torch.equal(static, zoom)
    assert torch.allclose(static[:, 0], torch.tensor([0, 0, 0, 0, -9.80665, 0]))
    down = imu(a_scene(camera="tilt down", amount=0.5), 100.0, noise=clean).accelerometer
    assert down[2, 0] > 0 > down[2, -1], "looking up, gravity pulls backwards; looking down, forwards"
    longer = imu(a_scene(camera="pan right", amount=0.5), 100.0, seconds=3.0, noise=clean).gyroscope
    assert longer[:, 200:].abs().max() < 1e-9, "the camera stops at the end"


def test_sensor_noise_is_pure_and_as_large_as_stated(a_scene) -> None:
    scene, other = a_scene(seed=1), a_scene(seed=2)
    read = imu(scene, 400.0, seconds=5.0)
    assert read.readings.shape == (6, 2000)
    assert torch.equal(read.readings, imu(scene, 400.0, seconds=5.0).readings)
    assert not torch.equal(read.readings, imu(other, 400.0, seconds=5.0).readings)
    noise = ImuNoise(gyro_wander=0.0, accel_wander=0.0)
    spread = imu(scene, 400.0, seconds=5.0, noise=noise).readings.std(1)
    assert torch.allclose(spread[:3], torch.tensor(noise.gyro_density * math.sqrt(200)), rtol=0.1)
    assert torch.allclose(spread[3:], torch.tensor(noise.accel_density * math.sqrt(200)), rtol=0.1)
    for rate, seconds in ((0.0, 1.0), (100.0, 0.0), (1e9, 1.0)):
        with pytest.raises(UserError, match="the sensor's rate is"):
            imu(scene, rate, seconds)


def test_truth_of_a_batch_is_the_truth_of_each(an_actor, a_scene) -> None:
    pair: list[Scene] = [
        a_scene(an_actor("fox", "roll", "left"), camera="pan left", amount=0.4),
        replace(a_scene(an_actor("bus", "spin", "clockwise")), background="beach"),
    ]
    for measure in (depth, masks, thermal):
        assert torch.equal(measure(pair, 2), torch.cat([measure([s], 2) for s in pair]))
    both, each = stereo(pair, 2), [stereo([s], 2) for s in pair]
    assert torch.equal(both.right, torch.cat([p.right for p in each]))
    assert torch.equal(optical_flow(pair, 2).pixels, torch.cat([optical_flow([s], 2).pixels for s in pair]))


def test_what_has_no_truth_is_refused(a_scene) -> None:
    for measure in (depth, masks, thermal, optical_flow, stereo):
        with pytest.raises(UserError, match="no scenes"):
            measure([])
        with pytest.raises(UserError, match="at least 1"):
            measure([a_scene()], 2, 0, 64)
    with pytest.raises(UserError, match="two frames or more"):
        optical_flow([a_scene()], 1)
