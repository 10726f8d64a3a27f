"""Character codes: which character, which place from both ends, and only of what is quoted."""

import torch

from kinema.text.characters import ALPHABET, CharacterCodes


def test_a_token_says_its_character_and_its_place_from_both_ends():
    codes = CharacterCodes(max_tokens=4)
    states = codes.encode(['a fox by a sign that says "Cab"'])
    assert states.embeds.shape == (1, 4, codes.dim) == (1, 4, 36 + 1 + 8)
    assert states.mask.tolist() == [[True, True, True, False]]
    letters, places = states.embeds[0, :, :37], states.embeds[0, :, 37:]
    assert letters.argmax(1).tolist()[:3] == [ALPHABET.index(c) for c in "CAB"]
    assert places[:, :4].argmax(1).tolist()[:3] == [0, 1, 2]
    assert places[:, 4:].argmax(1).tolist()[:3] == [2, 1, 0]
    assert states.embeds.sum(2).tolist() == [[3, 3, 3, 0]]


def test_only_quoted_words_are_seen_and_cut_at_the_end():
    codes = CharacterCodes(max_tokens=4)
    states = codes.encode(["a fox in the snow", "", '"STREETS"', '"é!"', '"A B"'])
    assert states.mask.sum(1).tolist() == [0, 0, 4, 2, 2]
    assert states.embeds[3, 0, len(ALPHABET)] == 1  # a character that no sign has
    other = codes.encode(['a cat says "STRE"'])
    cut = states.embeds[2]
    assert torch.equal(cut, other.embeds[0])
    assert torch.equal(codes.encode([]).embeds, torch.zeros(0, 4, codes.dim))
