"""The sign reader: its lessons hold no held-out word, its recipe learns, and what is shipped reads true renders."""

from __future__ import annotations

from importlib import resources

import pytest
import torch

from kinema.errors import UserError
from kinema.world import WorldSpec, sample_scene
from kinema.world.judges import signs
from kinema.world.judges.lessons import to_float
from kinema.world.judges.sign_lessons import BLANK, codes, lesson, lesson_scene, word_box
from kinema.world.judges.signs import SignJudge, SignNet
from kinema.world.letters import ALPHABET, HIGH, draw_word
from kinema.world.renderer import render
from kinema.world.signs import Sign, is_unseen_word

SHIPPED = resources.files("kinema.world").joinpath(signs.ASSET)


@pytest.fixture(scope="module")
def untrained() -> SignJudge:
    torch.manual_seed(0)
    return SignJudge(SignNet())


def test_lessons_hold_no_word_that_is_kept_for_tests() -> None:
    scenes = [lesson_scene(i) for i in range(160)]
    words = [s.sign.word for s in scenes if s.sign]
    assert len(words) == 140
    assert not any(is_unseen_word(w) for w in words)
    assert {len(w) for w in words} >= {2, 3, 4}
    assert set("".join(words)) == set(ALPHABET)
    assert lesson_scene(5) == lesson_scene(5)


def test_a_lesson_says_where_and_what() -> None:
    batch = lesson(range(6, 10), torch.Generator().manual_seed(0), spoilt=0.0)
    assert batch["frames"].shape == (16, 3, 64, 64)
    assert batch["present"].view(4, 4)[:, 0].tolist() == [True, False, True, True]
    assert not batch["whole"][~batch["present"]].any()
    assert batch["whole"].float().mean() > 0.4
    word = lesson_scene(6).sign.word
    assert batch["code"][0].tolist() == [*(ALPHABET.index(c) for c in word), *[BLANK] * (4 - len(word))]
    assert codes([""]).tolist() == [[BLANK] * 4]


def test_the_strip_holds_the_word_at_one_place(a_scene, an_actor) -> None:
    """Cut at the true box, any word of any size lies where the font draws it."""
    net, height = SignNet(), round(SignNet.UNIT * HIGH)
    pattern = draw_word("MILK", height)
    for scale, x, camera in ((0.13, -0.2, "static"), (0.16, 0.1, "zoom out"), (0.14, 0.0, "pan left")):
        sign = Sign(word="MILK", kind="post", colour="black", x=x, y=-0.3, height=scale)
        scene = a_scene(
            an_actor(y=0.3, size=0.3), sign=sign, camera=camera, amount=0.0 if camera == "static" else 0.3
        )
        frame = to_float(render([scene], 2, 256, 256, 1.0))[:, :, 1]
        strip = net.cut(frame, torch.tensor([word_box(scene, 1.0)]))[0].mean(0)
        assert strip.shape == (16, 48)
        left = int(SignNet.LEAD) - 1
        seen = strip[2:14, left : left + pattern.shape[1]]
        together = torch.stack([seen.flatten(), pattern.flatten()])
        assert float(torch.corrcoef(together)[0, 1]) > 0.8


def test_a_few_steps_bring_the_loss_down() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    batch, net = lesson(range(4), generator, spoilt=0.0), SignNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    found = []
    for _ in range(10):
        total, logs = signs.loss(net, batch, generator)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append((total.item(), logs["characters"]))
    assert found[-1][0] < 0.7 * found[0][0]
    assert found[-1][1] < 0.9 * found[0][1]
    assert all(p.grad is not None for p in net.parameters())


def test_any_clips_are_read_and_others_refused(untrained) -> None:
    assert untrained.read(torch.zeros(0, 3, 16, 64, 64)) == []
    readings = untrained.read(torch.rand(3, 3, 5, 40, 90) * 2 - 1, batch_size=2)
    assert len(readings) == 3
    for reading in readings:
        assert len(reading.word) <= 4
        assert set(reading.word) <= set(ALPHABET)
        assert 0 < reading.probability <= 1
    with pytest.raises(UserError, match="the judge expects float"):
        untrained.read(torch.zeros(1, 3, 16, 64, 64, dtype=torch.uint8))
    with pytest.raises(UserError, match="not finite"):
        untrained.read(torch.full((1, 3, 16, 64, 64), float("nan")))


def test_it_is_kept_small_and_read_back(untrained, tmp_path) -> None:
    path = tmp_path / "judge.safetensors"
    judge = SignJudge(untrained.net, {"exact": 0.5})
    judge.save(path, "a test")
    assert path.stat().st_size <= 1_000_000
    again = SignJudge.load(path)
    assert again.accuracy == {"exact": 0.5}
    clips = to_float(render([sample_scene("val", 0, WorldSpec(sign_odds=1.0))]))
    assert again.read(clips)[0].word == judge.read(clips)[0].word
    with pytest.raises(UserError):
        SignJudge.load(tmp_path / "none.safetensors")


def test_without_weights_it_says_how_to_make_them(monkeypatch) -> None:
    monkeypatch.setattr(signs, "ASSET", "assets/no_such_judge.safetensors")
    signs._shipped.cache_clear()
    with pytest.raises(UserError, match="this copy of kinema has no trained sign reader"):
        SignJudge.load()
    signs._shipped.cache_clear()


@pytest.mark.skipif(not SHIPPED.is_file(), reason="the sign reader is not trained in this copy")
def test_the_trained_reader_spells_held_out_words() -> None:
    judge = SignJudge.load()
    assert judge.accuracy["exact"] >= 0.98
    found = signs.measure(judge, "val", clips=64, first=50_000)
    assert found["exact"] >= 0.92
    assert found["none"] >= 0.8
    assert len(SHIPPED.read_bytes()) <= 1_000_000


def test_the_command_says_how_it_is_used(capsys) -> None:
    assert signs.main(["listen"]) == 2
    assert "usage" in capsys.readouterr().err
