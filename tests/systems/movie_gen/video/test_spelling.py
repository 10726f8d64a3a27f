"""Quoted words: they become the sign's word, and the rest of the prompt is read as if they had not been there."""

import pytest

from kinema.systems.movie_gen.video.prompt import understand
from kinema.systems.movie_gen.video.spelling import take_words
from kinema.world.captions import canonical_caption, caption
from kinema.world.scene import WorldSpec, sample_scene

SIGNED = WorldSpec(vocabulary="nano", sign_odds=1.0, sign_letters=(1, 4))


def test_every_phrasing_of_a_sign_is_understood():
    for index in range(200):
        scene = sample_scene("val", index, SIGNED)
        wanted = canonical_caption(scene)
        for text in (wanted, caption(scene, index + 1)):
            said = understand(text)
            assert (said.caption, said.notices) == (wanted, ()), text


@pytest.mark.parametrize(
    ("prompt", "rest", "word"),
    [
        ('a fox jumps near a red sign that says "Open"', "a fox jumps", "OPEN"),
        ('"EXIT" by a panda in the snow', "by a panda in the snow", "EXIT"),
        ("a dog with a big wooden sign reading “no”, pan left", "a dog , pan left", "NO"),
        ("the dogs' bowl is a cat's", "the dogs' bowl is a cat's", ""),
        ('a cat, "HI" written on a board', "a cat", "HI"),
        ('a fox says "hi"', "a fox", "HI"),
        ('a "big" fox', 'a "big" fox', ""),
    ],
)
def test_words_are_taken_out(prompt, rest, word):
    left, found, notices = take_words(prompt)
    assert (" ".join(left.split()), found, notices) == (rest, word, [])


@pytest.mark.parametrize(
    ("prompt", "word", "notice"),
    [
        ('a fox by a sign "HELLO"', "HELL", "hold 4 letters"),
        ('a fox by a sign "猫"', "", "has none of them"),
        ('a fox by a sign "No" and a sign "YES"', "NO", "1 more quoted"),
    ],
)
def test_what_no_sign_can_say_is_said(prompt, word, notice):
    said = understand(prompt)
    assert said.sign == word
    assert said.subject == "fox"
    assert any(notice in line for line in said.notices)
    assert ('"' in said.caption) == bool(word)
