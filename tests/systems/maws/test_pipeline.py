"""MAWS's files opened: own, published and with a text tower; what is wrong is one sentence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import kinema
from kinema import hub
from kinema.data.hashtags import plain_tag
from kinema.data.preprocessing import Preprocessing
from kinema.data.tagged import whole
from kinema.errors import UserError
from kinema.systems.maws import clip, weights
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder
from kinema.systems.maws.pipeline import load, open_trunk
from kinema.systems.maws.reconstruction import reconstruct
from kinema.systems.maws.tagged import world_pictures
from kinema.vision import Media, VisionFile, save_vision
from tests.shaken import draw, shaken
from tests.systems.maws.test_clip import layout, words
from tests.systems.maws.test_model import published, published_decoder

TINY = MawsConfig(
    dim=16, depth=2, num_heads=2, patch=4, image_size=16, decoder_dim=8, decoder_depth=1, decoder_heads=2
)
PHOTO = Media("image", np.random.default_rng(0).integers(0, 255, (1, 40, 30, 3), np.uint8), "photo")


def saved(path, config=TINY, network="vit", room="maws", labels=("fox", "boat", "snow")):
    made = shaken(autoencoder(config) if network == "autoencoder" else encoder(config))
    about = VisionFile(
        room=room,
        network=network,
        config=config.to_dict(),
        preprocessing=Preprocessing(size=config.image_size).to_dict(),
        labels={"image": list(labels)},
    )
    save_vision(made, path, about)
    return made


def test_own_weights_go_round(tmp_path):
    config = TINY.at(16, num_classes=3)
    made = saved(tmp_path / "a.safetensors", config)
    see = load(tmp_path / "a.safetensors")
    batch = see.prepare(PHOTO)
    torch.testing.assert_close(see.model(batch), made(batch), atol=2e-2, rtol=2e-2)  # floats of 16 bits
    assert {guess.label for guess in see.classify(PHOTO)} == {"fox", "boat", "snow"}
    assert see.embed([PHOTO]).shape == (1, 16)
    assert see.dense(batch).shape == (1, 16, 4, 4)
    assert see.config == config
    torch.testing.assert_close(open_trunk(tmp_path / "a.safetensors").features(batch), see.features(batch))


def test_the_first_stage_gives_its_encoder(tmp_path):
    made = saved(tmp_path / "mae.safetensors", network="autoencoder", labels=())
    see = load(tmp_path / "mae.safetensors")
    batch = see.prepare(PHOTO)
    torch.testing.assert_close(see.features(batch), made.encoder.features(batch), atol=2e-2, rtol=2e-2)
    assert see.intermediate(batch, ["encoder.blocks.1"])["encoder.blocks.1"].shape[0] == 1
    with pytest.raises(UserError, match="no classifier"):
        see.classify(PHOTO)


def test_files_that_are_not_ours(tmp_path):
    saved(tmp_path / "other.safetensors", room="swag")
    with pytest.raises(UserError, match="holds a network of swag"):
        load(tmp_path / "other.safetensors")
    saved(tmp_path / "new.safetensors", network="vit")
    state = {"network": "swin"}
    about = VisionFile(
        room="maws", config=TINY.to_dict(), preprocessing=Preprocessing(size=16).to_dict(), **state
    )
    save_vision(encoder(TINY), tmp_path / "swin.safetensors", about)
    with pytest.raises(UserError, match="which MAWS does not have"):
        load(tmp_path / "swin.safetensors")
    with pytest.raises(UserError, match="needs weights"):
        load(None)
    config = dataclasses.replace(TINY, dim=32)
    about = dataclasses.replace(about, network="vit", config=config.to_dict())
    save_vision(encoder(TINY), tmp_path / "size.safetensors", about)
    with pytest.raises(UserError, match="do not fit"):
        load(tmp_path / "size.safetensors")


@pytest.mark.parametrize("decoder", [False, True])
def test_published_files_open(decoder, tmp_path, monkeypatch):
    known = dataclasses.replace(
        weights.checkpoint("mae_visualize_vit_base" if decoder else "vit_b16_ft_in1k_maws"),
        config=TINY if decoder else TINY.at(16, num_classes=4),
        preprocessing=Preprocessing(size=16),
    )
    layouts = published(known.config) | (published_decoder(TINY) if decoder else {})
    torch.save({key: 0.1 * draw(*shape) for key, shape in layouts.items()}, tmp_path / "file.pt")
    monkeypatch.setitem(weights.CHECKPOINTS, "small", known)
    see = load(tmp_path / "file.pt", name="small")
    assert see.embed([PHOTO]).shape == (1, 16)
    if decoder:
        with pytest.raises(UserError, match="no classifier"):
            see.classify(PHOTO)
    else:
        assert see.classify(PHOTO, top=1)[0].label.startswith("class ")


def test_every_published_name_says_where_it_is_offered():
    names = {*weights.CHECKPOINTS, *clip.ADDRESSES}
    entry = hub.find("maws")
    assert set(weights.CHECKPOINTS) <= set(entry.published) <= names
    for name in sorted(names):
        with pytest.raises(UserError, match=r"offered under CC-BY-NC 4\.0 at https://dl\.fbaipublicfiles"):
            load(None, name=name)
    with pytest.raises(UserError, match="vit_b16_maws"):
        kinema.load("maws/vit_b16_mawz")


def test_classes_in_words(tmp_path, monkeypatch):
    config = clip.ClipConfig.preset("nano")
    monkeypatch.setitem(clip.ADDRESSES, "nano", "https://example.org/nano.pt")
    monkeypatch.setattr(clip, "PREPROCESSING", Preprocessing(size=64))
    state = {k: 0.1 * draw(*v.shape, seed=i) for i, (k, v) in enumerate(layout(config, "new").items())}
    torch.save(state, tmp_path / "nano.pt")
    see = load(tmp_path / "nano.pt", name="nano")
    embeds = see.embed([PHOTO])
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(1))
    assert embeds.shape == (1, config.joint_dim)
    with pytest.raises(UserError, match="no classifier"):
        see.classify(PHOTO)
    with pytest.raises(UserError, match="tokeniser"):
        load(tmp_path / "nano.pt", name="nano", classes=["fox"])
    with pytest.raises(UserError, match="no classes"):
        load(tmp_path / "nano.pt", name="nano", classes=[], tokenizer=words)
    named = load(tmp_path / "nano.pt", name="nano", classes=["fox", "boat", "un bateau"], tokenizer=words)
    guesses = named.classify(PHOTO)
    assert {guess.label for guess in guesses} == {"fox", "boat", "un bateau"}
    own = load(
        tmp_path / "nano.pt", name="nano", classes={"fox": ["a red fox"], "b": ["boat"]}, tokenizer=words
    )
    expected = clip.load(tmp_path / "nano.pt", "nano", words)
    shares = expected.classify(own.prepare(PHOTO), expected.class_embeds([["a red fox"], ["boat"]]))
    torch.testing.assert_close(own.probabilities(PHOTO), shares[0])


def test_classes_in_words_need_a_text_tower(tmp_path):
    saved(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="only MAWS's models with a text tower"):
        load(tmp_path / "a.safetensors", classes=["fox"])


def test_reconstructions_keep_what_was_seen():
    model = shaken(autoencoder(TINY))
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    images = draw(3, 3, 16, 16).sigmoid()
    drawn = reconstruct(model, images, torch.Generator().manual_seed(0), 0.75, zero, one)
    hidden = (drawn.seen == 0.5).all(1)
    assert float(hidden.float().mean()) == pytest.approx(0.75, abs=0.01)
    shown = ~hidden[:, None].expand_as(images)
    torch.testing.assert_close(drawn.filled[shown], images[shown])
    assert not torch.equal(drawn.filled, images)
    # Brightness and contrast of a patch are the true ones, whatever the network says.
    flat = torch.full_like(images, 0.3)
    filled = reconstruct(model, flat, torch.Generator().manual_seed(0), 0.75, zero, one).filled
    torch.testing.assert_close(filled, flat, atol=0.02, rtol=0)
    assert drawn.sheet().shape == (3 * 16, 3 * 16, 3)


def test_the_weights_in_the_package_name_what_scenes_show():
    path = hub.find("maws").nano_path
    if path is None:
        pytest.skip("this copy has no nano weights")
    assert path.stat().st_size <= 1_200_000
    see, held = kinema.load("maws"), world_pictures(40, 64, "val", right=True)
    with torch.inference_mode():
        first = see.model(whole(held.read(range(40)), see.preprocessing)).argmax(1).tolist()
    words = [{plain_tag(word) for word in written} for written in held.words]
    right = [see.labels["image"][tag] in own for tag, own in zip(first, words, strict=True)]
    assert sum(right) >= 30
