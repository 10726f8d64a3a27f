"""Signs: words that can be read in the scene, named in the caption, and change nothing where there are none."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from kinema.cli import app
from kinema.errors import UserError
from kinema.world import SPLITS, Scene, WorldSpec, canonical_caption, caption, sample_scene
from kinema.world.judges.labels import ATTRIBUTES, sign_word, truth
from kinema.world.judges.lessons import to_float
from kinema.world.judges.signs import SignJudge
from kinema.world.letters import ALPHABET, PEN, draw_word, word_field
from kinema.world.motion import view
from kinema.world.renderer import pixel_grid, render
from kinema.world.signs import (
    COMMON_WORDS,
    OVERHEAD_HEIGHT,
    OVERHEAD_Y,
    READ_SHARE,
    SIGN_COLOURS,
    SIGN_DEPTH,
    Sign,
    is_unseen_word,
    legible_share,
    sample_word,
)
from kinema.world.truth import depth, layers, masks, optical_flow, sign_masks, stereo, thermal
from kinema.world.truth.layers import SIGN

SIGNED = WorldSpec(sign_odds=1.0)
MILK = Sign(word="MILK", kind="plate", colour="blue", x=0.0, y=-0.3, height=0.14)


@pytest.fixture(scope="module")
def signed() -> list[Scene]:
    return [sample_scene("train", i, SIGNED) for i in range(16)]


def test_worlds_without_signs_are_what_they_were() -> None:
    """Digests from before there were signs: trained models know these captions and pictures."""
    specs = (WorldSpec(vocabulary="nano"), WorldSpec())
    scenes = [sample_scene(split, i, spec) for spec in specs for split in SPLITS for i in range(3)]
    words = "\n".join(
        t for s in scenes for t in (canonical_caption(s), *(caption(s, k) for k in (None, 1, 2)))
    )
    assert hashlib.sha256(words.encode()).hexdigest()[:16] == "d521aabd7e6786a1"
    small, large = render(scenes, 3, 64, 64, 2.0), render(scenes[:8], 1, 128, 96, 2.0)
    assert hashlib.sha256(small.numpy().tobytes()).hexdigest()[:16] == "95a27e463355ad73"
    assert hashlib.sha256(large.numpy().tobytes()).hexdigest()[:16] == "4f6f7183db0b9b01"


def test_a_sign_changes_nothing_else() -> None:
    for split in SPLITS:
        for index in range(20):
            scene = sample_scene(split, index, SIGNED)
            assert scene.sign is not None
            assert replace(scene, sign=None) == sample_scene(split, index)
            assert repr(scene.sign) in repr(scene)
            assert "sign" not in repr(replace(scene, sign=None))
    some = [sample_scene("train", i, WorldSpec(sign_odds=0.3)) for i in range(300)]
    assert 60 < sum(s.sign is not None for s in some) < 120
    first = next(s for s in some if s.sign is not None)
    assert first == sample_scene("train", first.index, SIGNED)


def test_held_out_words_stay_out_of_training() -> None:
    rng = random.Random(0)
    words = {split: {sample_word(split, rng) for _ in range(1500)} for split in SPLITS}
    for split in SPLITS[1:]:
        assert words["train"].isdisjoint(words[split])
    for split in SPLITS:
        found = words[split]
        assert {len(w) for w in found} == {2, 3, 4}
        common = found & set(COMMON_WORDS)
        assert len(common) > 40
        assert len(found - common) > 300
    assert all(w.isalpha() and w.isupper() and 2 <= len(w) <= 4 for w in COMMON_WORDS)
    assert len(set(COMMON_WORDS)) == len(COMMON_WORDS)
    long = WorldSpec(sign_odds=1.0, sign_letters=(6, 7))
    assert all(len(sample_scene("val", i, long).sign.word) in (6, 7) for i in range(10))
    assert all(is_unseen_word(sample_scene("val", i, SIGNED).sign.word) for i in range(10))


def test_a_sign_can_be_read_most_of_the_time() -> None:
    scenes = [sample_scene(split, i, SIGNED) for split in ("train", "val") for i in range(24)]
    shares = [legible_share(s) for s in scenes]
    assert min(shares) >= 0.25
    assert sum(shares) / len(shares) > 0.8
    for scene in scenes:
        zooms = [view(scene, t / 8).zoom for t in range(16)]
        assert scene.sign.height * min(zooms) * 64 >= 6, "letters of 6 pixels"
    shown = sign_masks(scenes[:24], 8, fps=4.0)
    free = 0
    for scene, clip in zip(scenes, shown):
        for t in range(8):
            camera = view(scene, t / 4)
            row, column = (
                int((0.5 + (place - at) * camera.zoom) * 64)
                for place, at in ((scene.sign.y, camera.y), (scene.sign.x, camera.x))
            )
            free += 0 <= row < 64 and 0 <= column < 64 and float(clip[0, t, row, column]) > 0.5
    assert free / (24 * 8) > 0.8
    assert legible_share(sample_scene("train", 0)) == 0


def test_the_board_and_its_letters_are_drawn(a_scene, an_actor) -> None:
    low = an_actor(y=0.3, size=0.3)
    for kind in ("post", "plate"):
        for colour, (board, ink) in SIGN_COLOURS.items():
            scene = a_scene(low, sign=replace(MILK, kind=kind, colour=colour, word="I", height=0.5, y=-0.1))
            frame = render([scene], 1, 128, 128)[0, :, 0].permute(1, 2, 0).int()
            assert (frame[51, 64] - torch.tensor(ink)).abs().max() <= 2, "the letter's stem"
            assert (frame[51, 64 + 14] - torch.tensor(board)).abs().max() <= 2
            luminance = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (board, ink)]
            assert abs(luminance[0] - luminance[1]) > 100
    above, below = (sign_masks([a_scene(low, sign=replace(MILK, kind=k))], 1) for k in ("plate", "post"))
    assert above[0, 0, 0, 0].sum() > 0.3, "ropes from above"
    assert below[0, 0, 0, 0].sum() == 0
    assert below[0, 0, 0, 26].sum() > 0.9, "a post underneath"
    assert above[0, 0, 0, 26].sum() == 0


def test_neighbours_without_signs_change_nothing(signed) -> None:
    group = [signed[0], sample_scene("train", 3), signed[2]]
    assert torch.equal(render(group, 3), torch.cat([render([s], 3) for s in group]))


def test_a_sign_stands_in_the_scene(a_scene) -> None:
    pan = a_scene(camera="pan right", amount=0.5, sign=MILK)
    seen = layers([pan], 9).sign[0, 0]
    alone = seen[:, :24]  # the fox stands below
    for t in range(8):
        moved = alone[t + 1].roll(2, -1)
        assert (moved - alone[t])[:, 6:-6].abs().max() < 1e-3
    assert (alone[0] - alone[8]).abs().max() > 0.9
    zoom = layers([a_scene(camera="zoom in", amount=0.6, sign=MILK)], 9, fps=4.0).sign[0, 0, :, :24]
    assert zoom[8].sum() > 1.5 * zoom[0].sum()


def test_truth_knows_the_sign(signed) -> None:
    apart = layers(signed, 3)
    total = apart.visible.sum(1, keepdim=True) + apart.sign + apart.behind
    assert torch.allclose(total, torch.ones(()), atol=1e-5)
    assert torch.equal(apart.sign, sign_masks(signed, 3))
    assert all(float(apart.sign[b].sum()) > 100 for b in range(len(signed)))
    bare = [replace(s, sign=None) for s in signed]
    assert torch.equal(masks(signed, 3), masks(bare, 3)), "no actor is hidden"
    assert float(sign_masks(bare, 3).sum()) == 0
    changed = (render(signed, 3).float() - render(bare, 3)).abs().amax(1, keepdim=True) > 2
    plain = torch.tensor([s.finish == "plain" for s in signed])
    assert not (changed & (apart.sign == 0))[plain].any(), "nothing changes beside it"
    metres = depth(signed, 3)[:, 0]
    assert (metres[apart.front == SIGN] == SIGN_DEPTH).all()
    assert torch.equal(metres[apart.front != SIGN], depth(bare, 3)[:, 0][apart.front != SIGN])
    assert (depth(bare, 3)[:, 0] - metres).min() > -1e-3, "it stands before what it hides"
    assert not torch.equal(thermal(signed[:2], 3), thermal(bare[:2], 3))


def test_flow_and_stereo_follow_the_sign(signed) -> None:
    scenes = [s for s in signed if s.camera != "static"][:3]
    clip, flow = render(scenes, 5, 96, 96).float() / 255, optical_flow(scenes, 5, 96, 96)
    grid = pixel_grid(96, 96) + flow.pixels.movedim(1, -1) / 96
    warped = F.grid_sample(
        clip[:, :, 1:].transpose(1, 2).flatten(0, 1), (2 * grid).flatten(0, 1), align_corners=False
    ).unflatten(0, (3, 4))
    error = (warped.transpose(1, 2) - clip[:, :, :-1]).abs().mean(1, keepdim=True)
    on = flow.visible & (sign_masks(scenes, 5, 96, 96)[:, :, :-1] > 0.99)
    assert on.sum() > 1000
    assert error[on].mean() < 0.03
    pair, same = stereo(scenes, 2, baseline=0.3), stereo(scenes, 2, baseline=0.0)
    assert (same.right.int() - same.left.int()).abs().max() <= 1
    on = (sign_masks(scenes, 2) > 0.99) & pair.visible
    assert torch.allclose(
        pair.disparity[on],
        (pair.calibration.focal[:, None, :, None, None] * 0.3 / SIGN_DEPTH).expand_as(on)[on],
    )
    pair = stereo(scenes, 2, 160, 160, baseline=0.3)
    on = (sign_masks(scenes, 2, 160, 160) > 0.99) & pair.visible
    found = []
    for disparity in (pair.disparity, 0 * pair.disparity):
        grid = pixel_grid(160, 160).expand(3, 2, 160, 160, 2).clone()
        grid[..., 0] -= disparity[:, 0] / 160
        warped = F.grid_sample(
            pair.right.float().transpose(1, 2).flatten(0, 1), (2 * grid).flatten(0, 1), align_corners=False
        ).unflatten(0, (3, 2))
        found.append(float((warped.transpose(1, 2) - pair.left).abs().mean(1, keepdim=True)[on].mean()))
    assert found[0] < 0.3 * found[1], "at its disparity the views agree"


def test_captions_quote_the_word(signed) -> None:
    texts = set()
    for scene in signed:
        quoted = f'"{scene.sign.word}"'
        bare = replace(scene, sign=None)
        assert canonical_caption(scene).replace(f", a sign that says {quoted}", "") == canonical_caption(bare)
        for index in (None, *range(1, 30)):
            words = caption(scene, index)
            assert words.count(quoted) == 1
            assert words.count('"') == 2
            assert scene.subject.name in words
            texts.add(words.split(quoted)[0].rpartition(",")[2])
    assert len(texts) > 40
    assert sign_word(signed[0]) == signed[0].sign.word
    assert sign_word(sample_scene("train", 0)) == ""
    assert set(truth(signed[0])) == set(ATTRIBUTES)


def test_the_font_is_one_letter_a_sign() -> None:
    small = {letter: draw_word(letter, 7) for letter in ALPHABET}
    assert len(ALPHABET) == 36
    for a in ALPHABET:
        assert 0.1 < float(small[a].mean()) < 0.6
        for b in ALPHABET:
            if a < b:
                assert (small[a] - small[b]).abs().sum() > 1.5, f"{a} looks like {b}"
    assert draw_word("MILK", 7).shape == (9, 25)
    assert draw_word("H", 70).amax() == pytest.approx(1)
    ink = {h: float(draw_word("MILK", h).sum()) / (h / 7) ** 2 for h in (7, 14, 70)}
    assert ink[7] == pytest.approx(ink[70], rel=0.08)
    assert ink[14] == pytest.approx(ink[70], rel=0.04)
    assert ink[70] == pytest.approx(4 * 16 * PEN, rel=0.25)
    assert word_field("OK").shape == (80, 8 * 14)
    mirrored = draw_word("A", 28)
    assert torch.allclose(mirrored, mirrored.flip(1), atol=1e-4)


def test_overhead_signs_hang_where_they_are_expected() -> None:
    overhead = WorldSpec(vocabulary="nano", sign_odds=1.0, sign_place="overhead")
    scenes = [sample_scene("val", i, overhead) for i in range(80)]
    signs = [s.sign for s in scenes if s.sign is not None]
    assert 20 < len(signs) < 60, "left out where an actor or the camera would hide the word"
    assert {(s.kind, s.x, s.y, s.height) for s in signs} == {("plate", 0.0, OVERHEAD_Y, OVERHEAD_HEIGHT)}
    assert all(is_unseen_word(s.word) for s in signs)
    assert all(legible_share(s) >= READ_SHARE for s in scenes if s.sign is not None)
    assert [replace(s, sign=None) for s in scenes] == [
        sample_scene("val", i, WorldSpec(vocabulary="nano")) for i in range(80)
    ]
    read = SignJudge.load().read(to_float(render([s for s in scenes if legible_share(s) >= 0.8])))
    said = [s.sign.word for s in scenes if legible_share(s) >= 0.8]
    assert sum(r.word == word for r, word in zip(read, said, strict=True)) / len(said) > 0.9


@pytest.mark.parametrize("word", ["", "milk", "A B", "É", "ABCDEFGHI"])
def test_what_cannot_be_written_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="a sign cannot say"):
        replace(MILK, word=word)
    with pytest.raises(UserError, match="a sign cannot say"):
        draw_word(word, 8)


def test_what_is_no_sign_is_refused() -> None:
    with pytest.raises(UserError, match="is no sign"):
        replace(MILK, colour="pink")
    with pytest.raises(UserError, match="is no sign"):
        replace(MILK, kind="banner")
    with pytest.raises(UserError, match="sign_odds"):
        WorldSpec(sign_odds=1.5)
    with pytest.raises(UserError, match="sign_letters"):
        WorldSpec(sign_letters=(3, 12))
    with pytest.raises(UserError, match="sign_place"):
        WorldSpec(sign_place="below")


def test_the_command_shows_signs(tmp_path) -> None:
    done = CliRunner().invoke(
        app, ["world", "show", "--signs", "--count", "1", "-o", str(tmp_path / "signs.png")]
    )
    assert done.exit_code == 0, done.output
    assert f'"{sample_scene("train", 0, SIGNED).sign.word}"' in done.output
    assert (tmp_path / "signs.png").stat().st_size > 1000
