"""A user's file through Omnivore: heads by kind, depth as the network wants it, and every refusal in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema import hub
from kinema.errors import UserError
from kinema.media.depth import Depth, Intrinsics
from kinema.systems.omnivore import weights
from kinema.systems.omnivore.model import HeadConfig, Omnivore, OmnivoreConfig
from kinema.systems.omnivore.pipeline import load, networks
from kinema.systems.omnivore.recipe import NANO_PIXELS
from kinema.vision import Media, Vision, VisionFile, save_vision

HEADS = (
    HeadConfig(kind="image", classes=3),
    HeadConfig(kind="video", classes=2),
    HeadConfig(kind="rgbd", classes=4),
)
TINY = OmnivoreConfig(dim=8, depths=(1, 1), num_heads=(1, 1), window=(2, 2, 2), heads=HEADS)
LABELS = {"image": ["cat", "dog", "fox"], "video": ["still", "moving"], "rgbd": list("abcd")}


def write(path, config=TINY, room="omnivore", network="swin", labels=LABELS):
    torch.manual_seed(0)
    made = Omnivore(config)
    about = VisionFile(
        room=room,
        network=network,
        config=config.to_dict(),
        preprocessing=NANO_PIXELS.to_dict(),
        labels=labels,
    )
    save_vision(made, path, about)
    return path


def frames(count, height=48, width=64):
    return np.random.default_rng(count).integers(0, 255, (count, height, width, 3), np.uint8)


def with_depth(depth):
    return Media("rgbd", frames(1), "a picture", depth)


def test_a_file_of_our_own_comes_back(tmp_path):
    see = load(write(tmp_path / "a.safetensors"))
    assert isinstance(see, Vision)
    assert (see.config, see.preprocessing) == (TINY, NANO_PIXELS)
    torch.manual_seed(0)
    same = Omnivore(TINY).eval()
    batch = torch.randn(2, 3, 1, 64, 64)
    torch.testing.assert_close(see.model(batch), same(batch, "image"), atol=1e-3, rtol=1e-3)


def test_each_kind_has_its_head_and_its_names(tmp_path):
    see = load(write(tmp_path / "a.safetensors"))
    ramp = Depth(np.linspace(1, 9, 48 * 64, dtype=np.float32).reshape(48, 64), "relative_disparity")
    for media, kind in (
        (Media("image", frames(1), "a"), "image"),
        (Media("video", frames(9), "b"), "video"),
        (with_depth(ramp), "rgbd"),
    ):
        guesses = see.classify(media)
        assert {guess.label for guess in guesses} == set(LABELS[kind])
        assert sum(guess.share for guess in guesses) == pytest.approx(1, abs=1e-5)
        assert see.embed([media]).shape == (1, 16)


def test_depth_of_any_kind_is_relative_to_the_network(tmp_path):
    """Metres, pixels and relative disparity of one place are one fourth channel."""
    see = load(write(tmp_path / "a.safetensors"))
    metres = np.linspace(1, 5, 48 * 64, dtype=np.float32).reshape(48, 64)
    lens = Intrinsics(focal=50.0, baseline=0.1)
    kinds = [
        Depth(metres, "depth_m"),
        Depth(7 / metres, "relative_disparity"),
        Depth(5 / metres, "disparity_px", lens),
    ]
    views = [see.prepare(with_depth(depth)) for depth in kinds]
    assert views[0].shape == (1, 4, 1, 64, 64)
    for view in views[1:]:
        torch.testing.assert_close(view, views[0], atol=1e-4, rtol=0)
    assert float(views[0][0, 3].max()) == pytest.approx((1 - 0.2) / 0.3, abs=0.1)  # near is large


def test_clips_shorter_than_the_window_repeat_and_it_is_told(tmp_path):
    see = load(write(tmp_path / "a.safetensors"))
    for count in (1, 2, 3, 7):
        media = Media("video", frames(count), "b", notes=("slow",))
        view = see.prepare(media)
        assert view.shape == (1, 3, 8, 64, 64)
        steps = (view[0, :, 1:] != view[0, :, :-1]).any(0).flatten(1).any(1)
        assert int(steps.sum()) == count - 1  # each frame comes, in order, some of them again
        assert len(see.notes(media)) == 2
        assert "some repeat" in see.notes(media)[1]
    assert see.notes(Media("video", frames(8), "b")) == ()


def test_one_pixel_is_a_picture(tmp_path):
    see = load(write(tmp_path / "a.safetensors"))
    assert len(see.classify(Media("image", frames(1, 1, 1), "a"))) == 3
    with pytest.raises(UserError, match="too thin a strip"):
        see.embed([Media("video", frames(2, 1, 60_000), "b")])


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="of swag, and one of omnivore"):
        load(write(tmp_path / "a.safetensors", room="swag"))
    with pytest.raises(UserError, match=r"dl\.fbaipublicfiles\.com/omnivore/models/swinT"):
        load(None, name="swin_t")
    with pytest.raises(UserError, match=r"nothing\.torch"):
        load(tmp_path / "nothing.torch", name="swin_t")
    with pytest.raises(UserError):  # kinema's own file under the name of a released one
        load(tmp_path / "a.safetensors", name="swin_t")
    with pytest.raises(UserError, match="closest"):
        load(None, name="swin_x")
    with pytest.raises(UserError, match="needs weights"):
        load(None)


def test_the_hub_names_every_released_file():
    assert set(hub.MODELS["omnivore-nano"].published) == set(weights.CHECKPOINTS)


def test_a_network_for_clips_alone_says_so():
    config = OmnivoreConfig(
        dim=8,
        depths=(1, 1),
        num_heads=(1, 1),
        depth_input=False,
        heads=(HeadConfig(kind="video", classes=5),),
    )
    see = Vision(networks(Omnivore(config), NANO_PIXELS, "omnivore/x"), name="omnivore/x")
    picture = Media("image", frames(1), "a")
    assert len(see.classify(Media("video", frames(8), "b"))) == 5
    assert see.embed([picture]).shape == (1, 16)
    with pytest.raises(UserError, match="has classes for clips, not for pictures"):
        see.classify(picture)
    with pytest.raises(UserError, match="no input for depth"):
        see.classify(with_depth(Depth(np.ones((48, 64), np.float32), "depth_m")))


def test_a_released_network_wants_metres_and_a_camera():
    settings = weights.checkpoint("swin_t").preprocessing
    see = Vision(networks(Omnivore(TINY), settings, "omnivore/x"), name="omnivore/x")
    near = np.full((48, 64), 2.0, np.float32)
    view = see.prepare(with_depth(Depth(near, "depth_m", Intrinsics(focal=500.0))))
    want = (0.075 * 500 / 16 / 75 - 0.0418) / 0.0295
    torch.testing.assert_close(view[0, 3], torch.full((1, 224, 224), want), atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="relative disparity has no scale"):
        see.prepare(with_depth(Depth(near, "relative_disparity")))
    with pytest.raises(UserError, match="focal length is not known"):
        see.prepare(with_depth(Depth(near, "depth_m")))
    assert see.prepare(Media("video", frames(9), "b")).shape == (12, 3, 32, 224, 224)
