from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import pytest

from kinema.errors import UserError
from kinema.world import Scene, WorldSpec, sample_scene
from kinema.world.edit import EDIT_TASKS, sample_edit
from kinema.world.hashtags import POPULAR, TagNoise, as_tag, hashtags, popularity, true_tags
from kinema.world.scene import is_unseen_object, is_unseen_pair

QUIET = TagNoise(spurious=0, misspelt=0, plural=0)


def test_without_noise_every_hashtag_is_true() -> None:
    for index in range(200):
        scene = sample_scene("train", index)
        assert set(hashtags(scene, QUIET)) <= set(true_tags(scene))


def test_the_noise_has_the_stated_size() -> None:
    scenes = [sample_scene("train", i) for i in range(600)]
    quiet = [hashtags(s, QUIET) for s in scenes]
    assert sum(map(len, quiet)) / len(quiet) == pytest.approx(4, abs=0.5)
    named = sum(as_tag(s.subject.name) in t for s, t in zip(scenes, quiet)) / len(scenes)
    assert 0.6 < named < 0.95, "most people name the object, some do not"
    loud = [set(hashtags(s)) for s in scenes]
    false = sum(len(t - set(true_tags(s))) for s, t in zip(scenes, loud)) / sum(map(len, loud))
    assert 0.2 < false < 0.6
    only_slips = TagNoise(spurious=0, misspelt=1, plural=0)
    slipped = sum(len(set(hashtags(s, only_slips)) - set(true_tags(s))) for s in scenes[:200])
    assert slipped / sum(len(hashtags(s, only_slips)) for s in scenes[:200]) > 0.85


def test_popularity_follows_zipf() -> None:
    ranked = sorted((popularity(f"word{i}") for i in range(2000)), reverse=True)
    # log-uniform popularity: each tenth of the ranks is 1000^(1/10) less popular
    assert ranked[200] / ranked[1800] == pytest.approx(1000**0.8, rel=0.35)
    spurious = Counter(
        t
        for i in range(600)
        for t in hashtags(sample_scene("train", i), TagNoise(wanted=0, misspelt=0, plural=0))
    )
    assert spurious.most_common(1)[0][0] == POPULAR[0]
    assert spurious[POPULAR[0]] > 2 * spurious[POPULAR[9]] > 0


def test_tags_are_plain_and_noise_is_checked() -> None:
    assert as_tag("Piñata party!") == "pinataparty"
    for index in range(300):
        assert all(
            (t.isalnum() and t.islower()) or t.isdigit() for t in hashtags(sample_scene("train", index))
        )
    with pytest.raises(UserError, match="shares from 0 to 1"):
        TagNoise(misspelt=2)


ALLOWED = {
    "replace object": {"actors"},
    "change background": {"background"},
    "add object": {"actors"},
    "remove object": {"actors"},
    "change direction": {"actors"},
    "change finish": {"finish"},
    "change camera": {"camera", "camera_amount"},
}


def changed(a: Scene, b: Scene) -> set[str]:
    return {f.name for f in fields(Scene) if getattr(a, f.name) != getattr(b, f.name)}


@pytest.mark.parametrize("task", EDIT_TASKS)
def test_an_edit_changes_one_thing_and_nothing_else(task: str) -> None:
    for index in range(40):
        edit = sample_edit("train", index, task=task)
        source, target = edit.source, edit.target
        assert edit.task == task
        assert changed(source, target)
        assert changed(source, target) <= ALLOWED[task]
        if task == "replace object":
            assert replace(target.subject, artwork=source.subject.artwork) == source.subject
            assert target.actors[1:] == source.actors[1:]
            assert target.subject.name in edit.instruction
        if task == "change direction":
            back = {"direction": source.subject.direction, "mirrored": source.subject.mirrored}
            assert replace(target.subject, **back) == source.subject
            assert target.actors[1:] == source.actors[1:]
            assert target.subject.direction in edit.instruction
        if task == "add object":
            assert target.actors[:-1] == source.actors
            assert target.actors[-1].name in edit.instruction
            assert target.actors[-1].depth > source.subject.depth
        if task == "remove object":
            gone = [a for a in source.actors if a not in target.actors]
            assert len(gone) == 1
            assert gone[0] != source.subject
            assert [a for a in source.actors if a != gone[0]] == list(target.actors)
            assert gone[0].name in edit.instruction
        assert edit.inverse.inverse == edit
        assert edit.inverse.target == source
        assert len(set(edit.instructions)) >= 3


def test_edits_stay_in_their_split() -> None:
    for vocabulary in ("nano", "full"):
        spec = WorldSpec(vocabulary=vocabulary)  # type: ignore[arg-type]
        for index in range(30):
            for split in ("train", "val", "test-pairs"):
                target = sample_edit(split, index, spec, "replace object").target.subject
                assert is_unseen_pair(target.artwork, target.motion) == (split == "test-pairs")
            subject = sample_edit("test-objects", index, spec, "replace object").target.subject
            assert is_unseen_object(subject.artwork)


def test_tasks_are_equally_frequent_and_phrasings_vary() -> None:
    edits = [sample_edit("train", i) for i in range(420)]
    counts = Counter(e.task for e in edits)
    assert set(counts) == set(EDIT_TASKS)
    assert min(counts.values()) > 35
    assert all(e.instruction in e.instructions for e in edits)
    assert len({e.instructions.index(e.instruction) for e in edits if e.task == "replace object"}) == 4


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="there are replace object, change background"):
        sample_edit("train", 0, task="make it nice")
    with pytest.raises(UserError, match="no scene of this world can remove object"):
        sample_edit("train", 0, WorldSpec(actor_odds=(1, 0, 0)), "remove object")
    with pytest.raises(UserError, match="counts from 0"):
        sample_edit("train", -3)
