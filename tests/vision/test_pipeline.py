"""Files in, classes, embeddings and inner layers out; and a sentence for what cannot be looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.media import Video
from kinema.media.depth import Depth
from kinema.vision import Media, read_media
from kinema.vision.media import media_in
from kinema.vision.pipeline import kind_of, spread
from tests.vision.tiny import picture, tiny


def test_a_picture_is_classified_embedded_and_mapped(tmp_path):
    see, path = tiny(), picture(tmp_path / "a.png", (0, 255, 0))
    guesses = see.classify(path)
    assert [guess.label for guess in guesses] == ["green", "red", "blue"]
    assert sum(guess.share for guess in guesses) == pytest.approx(1)
    assert see.classify(path, top=1)[0].number == 1
    torch.testing.assert_close(see.embed([path]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert see.embed_dense(path).shape == (3, 8, 8)
    batch = see.prepare(path)
    assert batch.shape == (1, 3, 8, 8)
    torch.testing.assert_close(see.model(batch), torch.tensor([[0.0, 10.0, 0.0]]))


def test_a_clip_is_seen_frame_by_frame_by_a_network_for_images(tmp_path):
    frames = np.zeros((20, 10, 12, 3), np.uint8)
    frames[:10, ..., 0], frames[10:, ..., 2] = 250, 250
    frames[::2, 0, 0] = 0  # or equal frames would become one
    Video(frames, 10.0).write(tmp_path / "a.webp")
    media = read_media(tmp_path / "a.webp")
    assert media.kind == "video"
    see = tiny()
    assert see.prepare(media).shape == (8, 3, 8, 8)
    torch.testing.assert_close(see.embed([media])[0], torch.tensor([0.49, 0.0, 0.49]), atol=0.02, rtol=0)


def test_hooks_give_inner_layers_and_are_taken_off_again(tmp_path):
    see = tiny()
    batch = see.prepare(picture(tmp_path / "a.png"))
    inner = see.intermediate(batch, ["blocks.0", "blocks.1"])
    assert {name: tuple(value.shape) for name, value in inner.items()} == {
        "blocks.0": (1, 3, 8, 8),
        "blocks.1": (1, 3, 8, 8),
    }
    assert not any(module._forward_hooks for module in see.network.modules())
    with pytest.raises(UserError, match=r"no layer 'blocks\.7'"):
        see.intermediate(batch, ["blocks.7"])
    see.network.unused = torch.nn.Identity()
    with pytest.raises(UserError, match="nothing passed through 'unused'"):
        see.intermediate(batch, ["unused"])
    assert not any(module._forward_hooks for module in see.network.modules())


def test_what_it_cannot_do_is_said_in_a_sentence(tmp_path):
    path = picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="no classifier"):
        tiny(classes=False).classify(path)
    see = tiny()
    for shape in ((1, 2, 8, 8), (1, 4, 8, 8), (1, 3, 1, 8, 8), (1, 3, 5, 8, 8)):
        with pytest.raises(
            UserError, match=r"tiny cannot look at this: .* expected \(B, 3, H, W\) of images$"
        ):
            see.features(torch.zeros(shape))
    with pytest.raises(UserError, match="tiny cannot look at this: there are no pixels enough"):
        see.dense(torch.zeros(1, 3, 1, 1))
    with pytest.raises(UserError, match="the shape"):
        see.model(torch.zeros(3, 8))
    with pytest.raises(UserError, match="top=0"):
        see.classify(path, top=0)
    with pytest.raises(UserError, match="no files"):
        see.embed([])
    Depth(np.ones((10, 12), np.float32), "relative_disparity").write(tmp_path / "d.npy")
    with pytest.raises(UserError, match="no input for depth"):
        see.classify(path, depth=tmp_path / "d.npy")
    Depth(np.ones((9, 12), np.float32), "relative_disparity").write(tmp_path / "e.npy")
    with pytest.raises(UserError, match="must be of one size"):
        read_media(path, tmp_path / "e.npy")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="not a media file"):
        see.classify(tmp_path / "text.png")
    with pytest.raises(UserError, match="is a folder"):
        read_media(tmp_path)


def test_one_pixel_is_a_picture(tmp_path):
    see = tiny()
    assert see.classify(picture(tmp_path / "dot.png", (0, 0, 255), (1, 1)))[0].label == "blue"
    with pytest.raises(UserError, match="too thin a strip"):
        see.classify(Media("image", np.zeros((1, 40_000_000, 3), np.uint8), "strip"))


def test_a_folder_is_gone_through_without_hidden_files_and_links_out_are_refused(tmp_path):
    inside = tmp_path / "in"
    (inside / "deep").mkdir(parents=True)
    (inside / ".hidden").mkdir()
    picture(inside / "b.png"), picture(inside / "deep" / "a.JPG"), picture(inside / ".hidden" / "c.png")
    picture(tmp_path / "out.png")
    (inside / "notes.txt").write_text("x")
    assert [file.relative_to(inside).as_posix() for file in media_in(inside)] == ["b.png", "deep/a.JPG"]
    (inside / "link.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(UserError, match="leads out"):
        media_in(inside)
    with pytest.raises(UserError, match="no pictures and no clips"):
        media_in(_empty(tmp_path))
    with pytest.raises(UserError, match="no folder"):
        media_in(tmp_path / "nothing")


def _empty(place):
    (place / "empty").mkdir()
    return place / "empty"


def test_kinds_follow_from_shapes_and_frames_from_middles():
    assert kind_of(torch.zeros(1, 3, 4, 4)) == kind_of(torch.zeros(1, 3, 1, 4, 4)) == "image"
    assert kind_of(torch.zeros(1, 4, 1, 4, 4)) == "rgbd"
    assert kind_of(torch.zeros(1, 3, 2, 4, 4)) == "video"
    assert spread(np.arange(10), 2).tolist() == [2, 7]
    assert spread(np.arange(3), 8).tolist() == [0, 1, 2]
