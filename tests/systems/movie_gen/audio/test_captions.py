"""Captions in the paper's words, what the world says, and prompts that are refused."""

from __future__ import annotations

import pytest

from kinema.errors import UserError
from kinema.systems.movie_gen.audio.captions import (
    MUSIC,
    NO_MUSIC,
    WORDLESS,
    SoundCaption,
    clip_caption,
    players,
    refuse_voices,
    scene_caption,
    training_text,
)
from kinema.world.captions import canonical_caption
from kinema.world.scene import WorldSpec, sample_scene
from kinema.world.sound.words import BED_PHRASES

SCENES = [sample_scene("train", i, WorldSpec(vocabulary="full")) for i in range(400)]


def test_the_four_fields_stand_in_the_paper_s_words():
    said = SoundCaption(description="waves", music="calm piano", quality=7, music_likelihood=0.9)
    assert said.text == (
        "This audio has quality: 7.0. This audio does not contain speech. This audio does not contain vocal singing. "
        'This audio contains music with a 0.90 likelihood. This audio has a description: "waves". '
        'This audio has a music description: "calm piano".'
    )
    assert SoundCaption(description="waves", speech=True).text.count("contains speech") == 1


def test_without_a_description_the_quality_remains():
    said = SoundCaption(quality=4.0).text
    assert said.startswith("This audio has quality: 4.0.")
    assert "description" not in said
    assert "likelihood" not in said


@pytest.mark.parametrize("settings", [{"quality": 11}, {"quality": 0.5}, {"music_likelihood": 2}])
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="must lie"):
        SoundCaption(**settings)


def test_scenes_with_instruments_have_music_and_damaged_copies_a_lower_quality():
    found = {bool(players(scene)) for scene in SCENES}
    assert found == {True, False}
    for number, scene in enumerate(SCENES):
        said = scene_caption(scene, number)
        assert said.description
        assert said.music_likelihood == (MUSIC if players(scene) else NO_MUSIC)
        assert (said.music == "no music") is not bool(players(scene))
        assert all(name in said.music for name in players(scene))
        assert said.quality == 8.0
        assert scene_caption(scene, number, noisy=True).quality == 4.0
        assert scene_caption(scene, number, noisy=True).description == said.description


def test_a_share_of_training_captions_says_nothing_but_the_quality():
    wordless = ["description" not in training_text(scene, i) for i, scene in enumerate(SCENES)]
    assert sum(wordless) / len(SCENES) == pytest.approx(WORDLESS, abs=0.06)  # 2.4 deviations of 400 draws


def test_captions_of_one_scene_differ_from_round_to_round():
    assert len({training_text(SCENES[0], i) for i in range(9)}) > 2


def test_the_world_s_own_captions_ask_for_no_voices():
    for number, scene in enumerate(SCENES):
        refuse_voices(scene_caption(scene, number).description)


@pytest.mark.parametrize(
    "prompt",
    [
        "rain on a roof", "birdsong in a forest", "the song of a bird", "a whale sings under water",
        "no speech, only wind", "a crowd without talking", 'a sign that says "MILK" falls', "a guitar plays two notes",
        "singing birds at dawn", "",
    ],
)  # fmt: skip
def test_prompts_for_sounds_pass(prompt):
    refuse_voices(prompt)


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a man is talking", "speech"), ("Dialogue between two friends", "speech"), ("a voice-over explains", "speech"),
        ("she whispers", "speech"), ("a woman sings a song", "song"), ("rock music with vocals", "song"),
        ("a choir in a church", "song"), ("a robot says hello", "speech"),
    ],
)  # fmt: skip
def test_prompts_for_speech_or_song_are_refused_in_one_sentence(prompt, kind):
    with pytest.raises(UserError, match=rf"asks for {kind}.*makes no speech and no song") as caught:
        refuse_voices(prompt)
    assert "\n" not in str(caught.value)


def test_the_caption_of_a_picture_gives_what_the_clip_sounds_like():
    for number, scene in enumerate(SCENES):
        said = clip_caption(f"FPS-8, pan left: {canonical_caption(scene)}", 2.0, number)
        assert any(place in said.description for place in BED_PHRASES[scene.background])
        assert (said.music == "no music") is not bool(players(scene))
        if scene.subject.motion in ("bounce", "jump", "fall"):
            assert scene.subject.material in said.description
        refuse_voices(said.description)
        assert clip_caption(canonical_caption(scene), 2.0, number) == said
    assert len({clip_caption("a fox jumps up and down in the snow", 2.0, seed) for seed in range(9)}) > 2


@pytest.mark.parametrize(
    "words", ["", "rain on a roof", "a fox bounces", "on a beach", 'a sign that says "FOX" on a beach']
)
def test_other_words_are_no_caption_of_the_world(words):
    assert clip_caption(words, 2.0) is None
