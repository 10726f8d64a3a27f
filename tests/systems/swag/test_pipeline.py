"""A weight file opened as users open it: labels, embeddings, inner layers, and what cannot be opened."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import kinema
from kinema import hub
from kinema.data.hashtags import Vocabulary
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.eval.probes import accuracy
from kinema.systems.swag.model import RegNetConfig, ViTConfig, build
from kinema.systems.swag.pipeline import load
from kinema.systems.swag.weights import CHECKPOINTS
from kinema.systems.swag.zero_shot import KnownTags, tag_classes, zero_shot
from kinema.vision import VisionFile, save_vision
from kinema.world.hashtags import true_tags
from kinema.world.pictures import object_names, pictures
from kinema.world.scene import WorldSpec

TAGS = ("dog", "cat", "boat")
NETWORKS = {
    "regnet": RegNetConfig(depth=3, initial=8, slope=8.0, step=2.0, group_width=4, stem=4, num_classes=3),
    "vit": ViTConfig(dim=8, depth=2, num_heads=2, patch=8, image_size=16, num_classes=3),
}


def about(name: str = "regnet", **changes: object) -> VisionFile:
    known = KnownTags(Vocabulary(tags=TAGS, counts=(5, 3, 1), aliases={"pup": "dog"}), torch.ones(3) / 3)
    file = VisionFile(
        room="swag",
        network=name,
        config=NETWORKS[name].to_dict(),
        preprocessing=Preprocessing(size=16).to_dict(),
        labels={"image": TAGS},
        facts=known.facts(),
    )
    return dataclasses.replace(file, **changes)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_our_own_opens_again(name, tmp_path):
    torch.manual_seed(0)
    network = build(NETWORKS[name]).eval()
    torch.nn.init.normal_(network.head.weight)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    path = tmp_path / "model.safetensors"
    save_vision(network, path, about(name))
    picture = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    see = load(path)
    x = see.prepare(picture)
    assert x.shape == (1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(see.model(x), network(x))
        torch.testing.assert_close(see.features(x), network.features(x))
        torch.testing.assert_close(see.embed([picture]), network.features(x))
    assert see.dense(x).shape[:2] == see.features(x).shape
    guesses = see.classify(picture, top=3)
    assert {guess.label for guess in guesses} == set(TAGS)
    assert sum(guess.share for guess in guesses) == pytest.approx(1)
    layer = "trunk.stages.0" if name == "regnet" else "blocks.0"
    assert see.intermediate(x, [layer])[layer].isfinite().all()


def test_the_file_knows_its_tags(tmp_path):
    path = tmp_path / "model.safetensors"
    save_vision(build(NETWORKS["regnet"]), path, about())
    known = KnownTags.of(path)
    assert known.vocabulary.encode(["#Pups", "boats", "car"]) == (0, 2)
    assert known.vocabulary.counts == (5, 3, 1)
    torch.testing.assert_close(known.prior, torch.full((3,), 1 / 3, dtype=torch.float64))
    save_vision(build(NETWORKS["regnet"]), path, about(facts={"trained_on": "classes"}))
    with pytest.raises(UserError, match="it was trained on classes"):
        KnownTags.of(path)
    save_vision(build(NETWORKS["regnet"]), path, about(facts=about().facts | {"prior": [1.0]}))
    with pytest.raises(UserError, match="3 tags and 1 shares"):
        KnownTags.of(path)


def test_the_table_of_models_names_every_released_file():
    assert set(hub.find("swag-nano").published) == set(CHECKPOINTS)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match=r"CC BY-NC 4.0 at https://.*vit_b16_in1k.torch"):
        kinema.load("swag/vit_b16_in1k")
    path = tmp_path / "model.safetensors"
    save_vision(build(NETWORKS["regnet"]), path, about(room="maws"))
    with pytest.raises(UserError, match="holds a network of maws"):
        load(path)
    save_vision(build(NETWORKS["regnet"]), path, about(network="resnet"))
    with pytest.raises(UserError, match="'resnet', which SWAG does not have"):
        load(path)
    save_vision(build(NETWORKS["regnet"]), path, about("vit"))
    with pytest.raises(UserError, match="do not fit"):
        load(path)
    with pytest.raises(UserError, match="--weights FILE"):
        load(None)


def test_the_weights_that_travel_with_the_package_know_scenes():
    path = hub.find("swag-nano").nano_path
    assert path is not None
    assert path.stat().st_size < 1_200_000
    see, known = load(path), KnownTags.of(path)
    shown = pictures(range(48), "val", see.preprocessing.size)
    logits = see.model(see.preprocessing.normalise(shown.pixels[:, :, 0].float() / 255))
    right = [
        best in known.vocabulary.encode(true_tags(scene))
        for scene, best in zip(shown.scenes, logits.argmax(1).tolist(), strict=True)
    ]
    assert sum(right) >= 40
    names = object_names(WorldSpec())
    classes = tag_classes(known.vocabulary, {name: [name] for name in names})
    scores = zero_shot(logits, classes, known.prior)
    assert accuracy(scores, shown.labels("object", names)) > 0.05  # chance is 1 in 390
