"""Written hashtags to canonical ones, their targets, and how often each image is shown."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from kinema.data.hashtags import Vocabulary, plain_tag, singulars, tag_targets
from kinema.data.tag_sampling import epoch_order, repeats, tag_prior
from kinema.errors import UserError

IMAGES = [
    ["#Dog", "cute"], ["dogs", "Puppies"], ["puppy", "#dog"], ["pup"], ["glasses", "cute"],
    ["Bus", "cute"], ["buses", "CUTE"], ["🐶", ""], ["cute", "cute"],
]  # fmt: skip


def test_one_form_for_every_spelling():
    assert plain_tag("#Piñata-Party") == plain_tag("pinata party") == "pinataparty"
    assert plain_tag("ＣＡＴ️!") == "cat"
    assert plain_tag("Straße") == "strasse"
    assert plain_tag("#개") == "개"
    assert plain_tag("हिन्दी") == "हिन्दी"
    assert plain_tag("🐶#") == ""


def test_plurals():
    assert singulars("dogs") == ("dog",)
    assert singulars("puppies")[0] == "puppy"
    assert singulars("buses")[0] == "bus"
    assert singulars("grass") == singulars("gas") == singulars("cat") == ()


def test_a_vocabulary_counts_images_and_joins_forms():
    vocabulary = Vocabulary.build(IMAGES, aliases={"pup": "puppy"})
    assert dict(zip(vocabulary.tags, vocabulary.counts, strict=True)) == {
        "cute": 5, "dog": 3, "puppy": 3, "bus": 2, "glasses": 1,
    }  # fmt: skip
    assert vocabulary.tags[0] == "cute"
    assert vocabulary.encode(["#PUPS", "dogs", "pup", "unheard"]) == (
        vocabulary.tags.index("puppy"),
        vocabulary.tags.index("dog"),
    )
    assert vocabulary.number("glasses") == vocabulary.tags.index("glasses")
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_synonyms_follow_chains_and_survive_rings():
    vocabulary = Vocabulary.build(
        [["doggo"], ["pup"], ["a1"], ["b1"]], aliases={"doggo": "pup", "pup": "dog"}
    )
    assert vocabulary.encode(["doggo"]) == vocabulary.encode(["dog"]) == vocabulary.encode(["pup"])
    assert len(Vocabulary.build([["a1"], ["b1"]], aliases={"a1": "b1", "b1": "a1"})) in (1, 2)


def test_frequent_tags_and_allowed_ones_stay():
    assert Vocabulary.build(IMAGES, min_count=3).tags == ("cute", "dog")
    assert Vocabulary.build(IMAGES, size=1).tags == ("cute",)
    assert Vocabulary.build(IMAGES, keep=["Dog", "bus"]).tags == ("dog", "bus")
    with pytest.raises(UserError, match="no tag of"):
        Vocabulary.build(IMAGES, min_count=100)
    with pytest.raises(UserError, match="different tags"):
        Vocabulary(tags=("a", "a"), counts=(1, 1))
    with pytest.raises(UserError, match="which is no tag"):
        Vocabulary(tags=("a",), counts=(1,), aliases={"b": "c"})


def test_targets_add_up_to_one_whatever_the_number_of_tags():
    targets = tag_targets([(0,), (1, 3, 2), (3, 3)], 5)
    torch.testing.assert_close(targets.sum(1), torch.ones(3))
    assert targets[1].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0])
    assert targets[2, 3] == 1
    with pytest.raises(UserError, match="image 1 of the batch has no tag"):
        tag_targets([(0,), ()], 5)


# -- sampling laws ----------------------------------------------------------------------------------------

HEAD, TAIL = 0, 1
ONE_EACH = [(HEAD,)] * 900 + [(TAIL,)] * 100


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_laws_between_images_as_they_are_and_tags_alike(power, share):
    """At one half a tag is drawn by the square root of its images: 30 to 10."""
    expected = repeats(ONE_EACH, (900, 100), power)
    assert float(expected.sum()) == pytest.approx(1000)
    assert float(expected[900:].sum()) == pytest.approx(1000 * share)
    prior = tag_prior(ONE_EACH, expected, 3, smoothing=0.0)
    assert prior.tolist() == pytest.approx([1 - share, share, 0])
    assert tag_prior(ONE_EACH, expected, 3).min() > 0


def test_an_image_follows_its_rarest_tag():
    expected = repeats([(HEAD,), (HEAD, TAIL), (TAIL,), ()], (900, 100))
    assert float(expected[1]) == float(expected[2]) == pytest.approx(3 * float(expected[0]))
    assert float(expected[3]) == 0


def test_what_a_cap_takes_goes_to_the_others():
    images, counts = [(0,)] * 10 + [(1,)] * 2 + [(2,)], (1000, 50, 1)
    free = repeats(images, counts, total=26)
    capped = repeats(images, counts, total=26, most=5)
    assert float(free.max()) > 5 >= float(capped.max())
    assert float(capped.sum()) == pytest.approx(26)
    assert (capped[:10] > free[:10]).all()
    with pytest.raises(UserError, match="raise `most`"):
        repeats(images, counts, total=26, most=1.5)


def test_an_epoch_shows_images_as_often_as_expected():
    expected = torch.tensor([0.0, 0.25, 1.0, 3.5])
    seen: Counter[int] = Counter()
    for seed in range(400):
        order = epoch_order(expected, torch.Generator().manual_seed(seed))
        count = Counter(order.tolist())
        assert count[2] == 1
        assert count[3] in (3, 4)
        seen.update(count)
    assert seen[0] == 0
    assert seen[1] / 400 == pytest.approx(0.25, abs=0.07)
    assert seen[3] / 400 == pytest.approx(3.5, abs=0.08)
    orders = {
        tuple(epoch_order(torch.ones(9), torch.Generator().manual_seed(seed)).tolist()) for seed in range(5)
    }
    assert len(orders) == 5


def test_laws_that_cannot_be():
    with pytest.raises(UserError, match="from 0"):
        repeats(ONE_EACH, (900, 100), 2.0)
    with pytest.raises(UserError, match="no image has a tag"):
        repeats([(), ()], (1,))
