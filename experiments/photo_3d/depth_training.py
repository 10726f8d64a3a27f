"""Nano's depth network from nothing, in floats and in eight bits, against what needs no network.

    python experiments/photo_3d/depth_training.py

For every seed the network learns from drawn scenes. Then three ways into eight bits: ranges measured on training scenes
(post-training); the same after as many more steps as the third way takes; training on while rounding
(quantisation-aware). Held against a constant and the mean disparity of each row of training scenes, on held-out scenes
(whose objects and photos training never shows) and on Middlebury's Motorcycle, of which training shows nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.photo_3d import depth_recipe
from kinema.systems.photo_3d.bench import RowPrior
from kinema.systems.photo_3d.depth import DepthEstimator
from kinema.systems.photo_3d.depth_measures import against_stereo, motorcycle, row_prior, scene_errors
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig
from kinema.systems.photo_3d.depth_scenes import depth_batch
from kinema.systems.photo_3d.quantised import round_weights, set_mode
from kinema.train import Stage, run_stages, seed_everything

NAME = "depth_training"
STEPS, MORE, HELD_OUT, BATCH, CALIBRATION = 500, 100, 256, 16, 8
HEIGHT, WIDTH = depth_recipe.HEIGHT, depth_recipe.WIDTH
FIGURES = ("held-out log error", "Motorcycle R2", "Motorcycle AbsRel", "Motorcycle log error")
Row = dict[str, float]


def score(network: nn.Module, scenes: int) -> Row:
    """The figures of a network, or of a prior that stands in for one."""
    batches = (
        depth_batch(range(k, min(k + 32, scenes)), "test", HEIGHT, WIDTH) for k in range(0, scenes, 32)
    )
    photo, truth = motorcycle()
    report = against_stereo(DepthEstimator(network, long_side=WIDTH), photo, truth)  # type: ignore[arg-type]
    values = (scene_errors(network, batches)["error"], report.r2, report.abs_rel, report.log_error)
    return {figure: round(value, 6) + 0.0 for figure, value in zip(FIGURES, values, strict=True)}


def train(stage: Stage, seed: int) -> None:
    """Run a stage from its beginning, with nothing kept but the network."""
    stage.validate = None
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)


def run(seed: int, steps: int, more: int, scenes: int, batch: int, calibration: int) -> dict[str, Row]:
    """Arm -> figures of one seed."""
    seed_everything(seed)
    config = TiefenrauschConfig.preset("nano")
    network = Tiefenrausch(config)
    train(depth_recipe.float_stage(network, steps, batch), seed)
    rows = {"float": score(network.eval(), scenes)}
    after = depth_recipe.post_training(network, calibration)
    set_mode(after, "round")
    rows["post-training"] = score(after.eval(), scenes)

    rounded = depth_recipe.new_rounded(config)
    train(depth_recipe.rounded_stage(rounded, network, more, batch), seed)
    round_weights(rounded)
    set_mode(rounded, "round")
    rows["quantisation-aware"] = score(rounded.eval(), scenes)

    longer = Tiefenrausch(config)
    longer.load_state_dict(network.state_dict())
    onward = depth_recipe.float_stage(longer, more, batch)
    onward.lr = depth_recipe.rounded_stage(rounded, network, more, batch).lr
    train(onward, seed)
    rows["float, longer"] = score(longer.eval(), scenes)
    after = depth_recipe.post_training(longer, calibration)
    set_mode(after, "round")
    rows["post-training, longer"] = score(after.eval(), scenes)
    return rows


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    quick, shown = given.quick, 16 if given.quick else 512
    steps, more, scenes, batch, batches = (
        (2, 2, 8, 2, 1) if quick else (STEPS, MORE, HELD_OUT, BATCH, CALIBRATION)
    )
    settings = {"steps": steps, "more_steps": more, "held_out_scenes": scenes, "size": [HEIGHT, WIDTH]}
    runs = [
        Run("all", seed, settings, lambda seed=seed: run(seed, steps, more, scenes, batch, batches))
        for seed in range(given.seeds)
    ]
    found, spent = run_all(NAME, given, runs)
    with torch.no_grad():
        priors = {
            "constant": score(RowPrior(torch.zeros(1, 1, HEIGHT, 1)), scenes),
            "rows": score(RowPrior(row_prior(HEIGHT, WIDTH, shown)), scenes),
        }
    rows = {arm: [one[arm] for one in found["all"]] for arm in found["all"][0]}
    arms = summary({arm: [row] * given.seeds for arm, row in priors.items()} | rows)
    print(table(arms, FIGURES))
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "arms": arms},
        lambda figure: bars(figure, arms, FIGURES[:3], {}),
        (12.0, 3.4),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
