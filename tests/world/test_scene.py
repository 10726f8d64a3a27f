from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.world import (
    CAMERAS,
    DIRECTIONS,
    MOTIONS,
    SPLITS,
    WorldSpec,
    canonical_caption,
    caption,
    make_actor,
    sample_scene,
)
from kinema.world.captions import BACKGROUND_PHRASES, CAMERA_PHRASES, MOTION_PHRASES
from kinema.world.edit import sample_edit
from kinema.world.hashtags import hashtags
from kinema.world.motion import events, pose, view
from kinema.world.scene import is_unseen_object, is_unseen_pair

NANO = WorldSpec(vocabulary="nano")
# Trained models know these scenes: another digest is another world, and their weights belong to the old one.
DIGESTS = {"nano": "4f707b72bbc9410f", "full": "2432ff1be324334b"}

EVERYTHING = """
import hashlib
from kinema.world import SPLITS, WorldSpec, canonical_caption, caption, sample_scene
from kinema.world.edit import sample_edit
from kinema.world.hashtags import hashtags
from kinema.world.motion import events
digest = hashlib.sha256()
for split in SPLITS:
    for index in range(12):
        scene = sample_scene(split, index)
        parts = scene, caption(scene), canonical_caption(scene), hashtags(scene), events(scene)
        digest.update(repr((*parts, sample_edit(split, index), sample_edit(split, index).instruction)).encode())
print(digest.hexdigest())
"""


def test_everything_is_the_same_in_another_process_with_another_hash_seed() -> None:
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", EVERYTHING],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("vocabulary", ["nano", "full"])
def test_the_world_is_the_one_that_models_were_trained_on(vocabulary: str) -> None:
    spec = WorldSpec(vocabulary=vocabulary)  # type: ignore[arg-type]
    scenes = [sample_scene(split, index, spec) for split in SPLITS for index in range(64)]
    assert hashlib.sha256(repr(scenes).encode()).hexdigest()[:16] == DIGESTS[vocabulary]


@pytest.mark.parametrize("spec", [NANO, WorldSpec()], ids=["nano", "full"])
def test_splits_share_no_pairs_and_no_objects_that_they_should_not(spec: WorldSpec) -> None:
    pairs, objects = {}, {}
    for split in SPLITS:
        scenes = [sample_scene(split, index, spec) for index in range(500)]
        pairs[split] = {(s.subject.artwork, s.subject.motion) for s in scenes}
        objects[split] = {a.artwork for s in scenes for a in s.actors}
    assert pairs["train"].isdisjoint(pairs["test-pairs"])
    assert pairs["val"].isdisjoint(pairs["test-pairs"])
    assert {a for a, _ in pairs["test-objects"]}.isdisjoint(objects["train"] | objects["val"])
    assert all(is_unseen_object(a) for a, _ in pairs["test-objects"])
    assert all(is_unseen_pair(*p) for p in pairs["test-pairs"])
    assert {a for a, _ in pairs["test-pairs"]} <= set(spec.objects)  # known objects, known motions, new pairs
    assert len(pairs["test-pairs"]) > 20


@given(split=st.sampled_from(SPLITS), index=st.integers(0, 10**9), nano=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_place_in_a_split_is_a_whole_scene(split: str, index: int, nano: bool) -> None:
    spec = NANO if nano else WorldSpec()
    scene = sample_scene(split, index, spec)
    assert scene == sample_scene(split, index, spec)
    assert (scene.split, scene.index) == (split, index)
    assert 1 <= len(scene.actors) <= 3
    assert len({a.artwork for a in scene.actors}) == len(scene.actors)
    depths = [a.depth for a in scene.actors]
    assert depths == sorted(depths), "the subject is the nearest"
    for actor in scene.actors:
        assert actor.direction in MOTIONS[actor.motion]
        assert actor.mirrored == (actor.direction == "right")
    assert (scene.camera == "static") == (scene.camera_amount == 0)
    happened = events(scene)
    assert [e.time for e in happened] == sorted(e.time for e in happened)
    assert all(0 <= e.time < scene.duration and 0 < e.strength <= 1 for e in happened)
    words = caption(scene)
    assert words == caption(scene)
    assert scene.subject.name in words
    assert hashtags(scene) == hashtags(scene)
    assert len(hashtags(scene)) == len(set(hashtags(scene))) > 0
    edit = sample_edit(split, index, spec)
    assert edit == sample_edit(split, index, spec)
    assert edit.source != edit.target


@given(index=st.integers(0, 10**6), phrasing=st.integers(1, 10**6))
@settings(max_examples=80, deadline=None)
def test_captions_speak_of_object_motion_background_and_camera(index: int, phrasing: int) -> None:
    scene = sample_scene("train", index)
    subject, words = scene.subject, caption(scene, phrasing).replace("anticlockwise", "counterclockwise")
    assert subject.name in words
    assert any(p.format(d=subject.direction) in words for p in MOTION_PHRASES[subject.motion])
    assert any(p in words for p in BACKGROUND_PHRASES[scene.background])
    assert all(a.name in words for a in scene.actors)
    if scene.camera != "static":
        assert any(p in words for p in CAMERA_PHRASES[scene.camera])
    for camera in set(CAMERAS) - {scene.camera}:
        assert not any(p in words for p in CAMERA_PHRASES[camera])
    assert caption(scene, 0) == canonical_caption(scene)


def test_impacts_are_where_a_height_is_lowest(an_actor, a_scene) -> None:
    for motion, direction in (("bounce", "left"), ("jump", "none"), ("fall", "down")):
        for phase in (0.1, 0.5, 0.9):
            scene = a_scene(an_actor("soccer ball", motion, direction, phase=phase))
            impacts = [e.time for e in events(scene) if e.kind == "impact"]
            assert impacts
            for time in impacts:
                low, near = pose(scene.subject, time).y, [time - 0.02, time + 0.02]
                assert all(pose(scene.subject, t).y <= low + 1e-9 for t in near)  # y points down
                assert pose(scene.subject, time - 0.02).y < low - 1e-4
            steps = [i / 500 for i in range(1, 999)]
            ys = [pose(scene.subject, t).y for t in steps]
            lowest = [
                t
                for t, before, y, after in zip(steps[1:], ys, ys[1:], ys[2:])
                if before < y - 1e-6 and y >= after
            ]
            assert len(lowest) == len(impacts)
            assert lowest == pytest.approx(impacts, abs=0.004)


def test_the_camera_ends_where_it_began_plus_its_amount(a_scene) -> None:
    there = {
        c: (view(a_scene(camera=c, amount=0.5), 0.0), view(a_scene(camera=c, amount=0.5), 2.0))
        for c in CAMERAS
    }
    moved = {c: (b.x - a.x, b.y - a.y, b.zoom / a.zoom) for c, (a, b) in there.items()}
    growth = 2.718281828**0.5
    assert moved["static"] == (0, 0, 1)
    assert moved["pan right"] == pytest.approx((0.5, 0, 1))
    assert moved["pan left"] == pytest.approx((-0.5, 0, 1))
    assert moved["tilt down"] == pytest.approx((0, 0.4, 1))
    assert moved["tilt up"] == pytest.approx((0, -0.4, 1))
    assert moved["zoom in"] == pytest.approx((0, 0, growth))
    assert moved["zoom out"] == pytest.approx((0, 0, 1 / growth))
    assert view(a_scene(camera="pan right", amount=0.5), 9.0).x == pytest.approx(0.25), "it stops at the end"


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    import random

    with pytest.raises(UserError, match="no split 'tests'"):
        sample_scene("tests", 0)
    with pytest.raises(UserError, match="counts from 0"):
        sample_scene("train", -1)
    with pytest.raises(UserError, match="vocabulary"):
        WorldSpec(vocabulary="small")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="add up to 1"):
        WorldSpec(actor_odds=(0.5, 0.2, 0.2))
    with pytest.raises(UserError, match="no motion"):
        make_actor(0, "slide", "up", random.Random(0))
    assert "none" in DIRECTIONS
