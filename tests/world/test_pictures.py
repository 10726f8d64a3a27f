"""Many scenes at once: pure in their numbers, with labels that say what is shown and disparity that fits."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UserError
from kinema.world import MOTIONS, WorldSpec
from kinema.world.batches import WorldClips
from kinema.world.pictures import FOCAL_BASELINE, clips, disparity, object_names, pictures, value


def test_pictures_are_those_of_the_training_batches():
    spec = WorldSpec(vocabulary="nano")
    ours = pictures(range(5, 17), size=32, spec=spec).pixels
    theirs = WorldClips(spec=spec, num_frames=1, height=32, width=32).pixels(range(5, 17))
    assert torch.equal(ours.float() / 127.5 - 1, theirs)


def test_a_scene_does_not_depend_on_its_neighbours():
    together = pictures(range(20), size=32)
    alone = pictures([7], size=32)
    assert torch.equal(together.pixels[7], alone.pixels[0])
    moving = clips([3, 9], frames=4, size=32)
    assert moving.pixels.shape == (2, 3, 4, 32, 32)
    assert torch.equal(moving.pixels[1], clips([9], frames=4, size=32).pixels[0])


def test_labels_say_what_is_shown():
    spec = WorldSpec(vocabulary="nano")
    seen = pictures(range(30), size=16, spec=spec)
    names = object_names(spec)
    labels = seen.labels("object", names)
    assert all(
        names[label] == scene.subject.name for label, scene in zip(labels.tolist(), seen.scenes, strict=True)
    )
    assert (seen.labels("motion", tuple(MOTIONS)) >= 0).all()
    assert (seen.labels("object", ("no such thing",)) == -1).all()
    assert all(seen.hashtags())
    with pytest.raises(UserError, match="no attribute 'smell'"):
        value(seen.scenes[0], "smell")


def test_disparity_of_a_subject_is_that_of_its_depth_and_the_ground_comes_nearer_downwards():
    scenes = [s for s in pictures(range(60), size=16).scenes if len(s.actors) == 1 and s.camera == "static"]
    maps = disparity(scenes, 48)
    assert maps.shape == (len(scenes), 48, 48)
    for scene, found in zip(scenes, maps, strict=True):
        own = FOCAL_BASELINE / scene.subject.depth
        rows = torch.where((found - own).abs() < 1e-5, torch.nan, found)  # what the subject does not cover
        for column in rows.T:
            ground = column[~column.isnan()]
            assert (ground.diff() >= -1e-5).all()
    seen = [
        (found - FOCAL_BASELINE / s.subject.depth).abs().min() < 1e-5
        for s, found in zip(scenes, maps, strict=True)
    ]
    assert sum(seen) > 0.8 * len(seen)  # some have left the frame by then
