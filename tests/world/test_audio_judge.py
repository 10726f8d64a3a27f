from importlib import resources

import pytest
import torch

from kinema.errors import UserError
from kinema.world import BACKGROUNDS, Scene, sample_scene
from kinema.world.judges import audio
from kinema.world.judges.audio import AudioJudge, AudioJudgeNet
from kinema.world.sound import SOUND_CLASSES, onsets, render_sound
from kinema.world.sound.matching import match_times

RATE = 48000


@pytest.fixture(scope="module")
def judge() -> AudioJudge:
    return AudioJudge.load()


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [
        sample_scene("val", k) for k in range(5000, 5030)
    ]  # none that its stored accuracy was measured on


@pytest.fixture(scope="module")
def sound(scenes: list[Scene]) -> torch.Tensor:
    return render_sound(scenes)


def test_it_is_small():
    path = resources.files("kinema.world").joinpath(audio.ASSET)
    with resources.as_file(path) as file:
        assert file.stat().st_size < 1_000_000
    assert sum(p.numel() for p in AudioJudgeNet().parameters()) <= 300_000


def test_its_own_accuracy_stands_in_the_file(judge):
    for name in ("onset_f1", "impact_f1", "class", "material", "family", "bed"):
        assert 0.95 <= judge.accuracy[name] <= 1, name
    assert {n for n in judge.accuracy if n.endswith("_unseen_objects")}
    assert judge.accuracy["onset_error_ms"] < 10


def test_it_hears_what_happens(judge, scenes, sound):
    hits = truths = detections = beds = 0
    for scene, reading in zip(scenes, judge.read(sound, RATE)):
        truth = onsets(scene)
        hits += len(match_times([e.time for e in truth], [h.time for h in reading.events], 0.04))
        truths, detections = truths + len(truth), detections + len(reading.events)
        beds += reading.background == scene.background
        assert all(h.sound in SOUND_CLASSES for h in reading.events)
        assert [h.time for h in reading.events] == sorted(h.time for h in reading.events)
        assert reading.background in BACKGROUNDS
    assert 2 * hits / (truths + detections) > 0.9
    assert beds >= 27


def test_a_later_sound_is_heard_later(judge, sound):
    delayed = torch.nn.functional.pad(sound[:8], (4800, 0))
    for now, late in zip(judge.read(sound[:8]), judge.read(delayed)):
        kept = [h for h in now.events if 0.05 < h.time < 1.9]
        pairs = match_times([h.time + 0.1 for h in kept], [h.time for h in late.events], 0.01)
        assert len(pairs) == len(kept)


def test_clips_are_judged_one_by_one(judge, sound):
    together, alone = judge.read(sound[:4]), [judge.read(sound[k : k + 1])[0] for k in range(4)]
    for a, b in zip(together, alone):
        assert [h.sound for h in a.events] == [h.sound for h in b.events]
        assert [h.time for h in a.events] == pytest.approx([h.time for h in b.events], abs=1e-4)
        assert a.background == b.background


def test_silence_and_noise_hold_no_events(judge):
    generator = torch.Generator().manual_seed(0)
    quiet = 1e-3 * torch.randn(1, 1, RATE, generator=generator)
    for clip in (torch.zeros(1, 1, RATE), quiet):
        assert judge.read(clip)[0].events == ()


def test_what_it_cannot_hear_is_refused(judge):
    with pytest.raises(UserError, match="mono"):
        judge.read(torch.zeros(1, 2, RATE))
    with pytest.raises(UserError, match="8000"):
        judge.read(torch.zeros(1, 1, RATE), rate=8000)
    with pytest.raises(UserError, match="finite"):
        judge.read(torch.full((1, 1, RATE), float("nan")))


def test_it_is_kept_and_read_back(judge, sound, tmp_path):
    judge.write_file(tmp_path / "judge.safetensors", "a test")
    again = AudioJudge.read_file(tmp_path / "judge.safetensors")
    assert again.accuracy == judge.accuracy
    assert again.read(sound[:2]) == judge.read(sound[:2])


def test_the_command_says_how_it_is_used(capsys):
    assert audio.main(["listen"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.slow
def test_training_learns(tmp_path):
    trained = audio.train(tmp_path / "judge.safetensors", steps=120, clips=400)
    assert trained.accuracy["onset_f1"] > 0.5
    assert trained.accuracy["bed"] > 0.5
