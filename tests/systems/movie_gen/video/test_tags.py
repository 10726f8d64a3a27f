"""Control words before a caption."""

from __future__ import annotations

import pytest

from kinema.systems.movie_gen.video.tags import tagged, training_texts
from kinema.world.captions import canonical_caption
from kinema.world.scene import CAMERAS, WorldSpec, sample_scene


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("a fox bounces", 8.0, "pan left"), "FPS-8, pan left: a fox bounces"),
        (("a fox bounces", 12.4), "FPS-12: a fox bounces"),
        (("", 8.0), "FPS-8"),
        (("", 8.0, "static"), "FPS-8, static"),
    ],
)
def test_tags_stand_before_the_caption(given, text):
    assert tagged(*given) == text


def test_training_texts_tell_the_rate_always_and_the_camera_every_second_time():
    spec = WorldSpec(vocabulary="nano", fps=(8.0, 12.0), static_camera=0.2)
    indices = range(64)
    scenes = [sample_scene("train", index, spec) for index in indices]
    texts = training_texts(scenes, indices)
    for index, scene, text in zip(indices, scenes, texts, strict=True):
        head, _, caption = text.partition(": ")
        camera = f", {scene.camera}" if index % 2 == 0 else ""
        assert head == f"FPS-{scene.fps:.0f}{camera}"
        assert (caption == canonical_caption(scene)) >= (index % 4 == 0)
    assert {scene.camera for scene in scenes} == set(CAMERAS)
    # A text depends on its scene and number alone, so that a resumed run reads the same.
    assert training_texts(scenes[5:6], [5]) == texts[5:6]
    assert len(set(texts)) > 60
