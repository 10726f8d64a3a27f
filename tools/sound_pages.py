"""The pictures of the documentation's page on sound: a clip for each material, its frames over what nano makes of them.

    python tools/sound_pages.py [--out docs/images/sound] [--seed 0] [--clip FILE]

For each material the first held-out scene in which something of it strikes twice or more is taken. Marks on the true
sound are the scene's own times, on nano's those at which the judge hears an impact. With --clip one picture more,
`clip.webp`: a filmed clip's frames over its own sound and over what nano makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import kinema
from kinema.eval.movie_gen_audio import hear, judged, true_video
from kinema.eval.sound_strip import Track, sound_strip
from kinema.media import Image, Video
from kinema.world.captions import canonical_caption
from kinema.world.judges.audio import AudioJudge
from kinema.world.scene import Scene, WorldSpec, sample_scene
from kinema.world.sound.events import MATERIALS, onsets, sound_class

STRIKES = 2
SEARCHED = 4000  # scenes


def scenes() -> Iterator[tuple[str, Scene]]:
    """The scene of each material that is found."""
    spec = WorldSpec(vocabulary="nano", actor_odds=(1.0, 0.0, 0.0))
    wanted = set(MATERIALS)
    for number in range(SEARCHED):
        scene = sample_scene("val", 700_000 + number, spec)
        struck = onsets(scene, ("impact",))
        kind = sound_class(scene, struck[0]) if len(struck) >= STRIKES else ""
        if kind in wanted:
            wanted.remove(kind)
            yield kind, scene


def filmed(path: Path, model: Any, judge: AudioJudge, seed: int) -> Image:
    """A clip's strip over its own sound, if it has one, and over nano's."""
    video = Video.read(path, max_side=256)
    made = model.sound_for(video, seed=seed)
    heard = [event for event in hear(judge, made)[0].events if event.kind == "impact"]
    tracks = [Track("nano, from the frames alone", made, [event.time for event in heard])]
    if video.sound is not None:
        tracks.insert(0, Track("the clip's own sound", video.sound))
    print(f"{path.name}: {video.seconds:.2f} s, impacts at {[round(e.time, 2) for e in heard]}")
    return sound_strip(video, tracks)


def main() -> None:
    """Draw and say what was heard."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/sound"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clip", type=Path, help="a filmed clip")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    more = {} if args.weights is None else {"weights": args.weights}
    model, judge = kinema.load("movie-gen-audio-nano", **more), AudioJudge.load()
    if args.clip is not None:
        filmed(args.clip, model, judge, args.seed).write(args.out / "clip.webp")
    for material, scene in scenes():
        video = true_video(scene)
        assert video.sound is not None
        made = model.sound_for(video, seed=args.seed)
        reading = hear(judge, made)
        heard = [event for event in reading[0].events if event.kind == "impact"]
        tracks = [
            Track("the true sound", video.sound, [event.time for event in onsets(scene, ("impact",))]),
            Track("nano, from the frames alone", made, [event.time for event in heard]),
        ]
        title = f"{material}: {canonical_caption(scene)}"
        sound_strip(video, tracks, title).write(args.out / f"{material}.webp")
        score = judged(reading, [scene])["impacts"]
        print(
            f"{material}: impacts F1 {score['f1']:.2f}, heard as {sorted({event.sound for event in heard})},"
            f" background {reading[0].background} for {scene.background}"
        )


if __name__ == "__main__":
    main()
