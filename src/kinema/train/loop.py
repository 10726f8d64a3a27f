"""The one training loop: stages in order, each from wherever the run folder says it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kinema.errors import UserError
from kinema.train.checkpoint import (
    newest_first,
    point_latest,
    read_folder,
    retain,
    step_folders,
    write_folder,
)
from kinema.train.data import microbatches
from kinema.train.distributed import Parallel, Runner, World, bind_local_device, join_world
from kinema.train.ema import EMA
from kinema.train.final import StageReport, finished_stage, read_final, stage_metrics, write_final
from kinema.train.folder import RunFolder, run_log, writing
from kinema.train.log import logger
from kinema.train.metrics import Metrics
from kinema.train.optim import build_optimizers
from kinema.train.precision import Precision, PrecisionName, choose_device
from kinema.train.progress import Progress
from kinema.train.schedules import Plateau
from kinema.train.seeds import derive_seed, seed_everything
from kinema.train.signals import Preempted, StopRequest, stop_on_signals
from kinema.train.speed import Speed
from kinema.train.stage import Stage
from kinema.train.state import TrainState, load_weights
from kinema.train.step import Stepper


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did: the folder, and for every stage its steps, last metrics and weights."""

    out: Path
    stages: tuple[StageReport, ...]

    def __getitem__(self, name: str) -> StageReport:
        return next(stage for stage in self.stages if stage.name == name)


def run_stages(
    stages: Sequence[Stage],
    out: Path | str,
    *,
    resume: str = "auto",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    parallel: Parallel = "ddp",
    keep_last: int = 2,
    progress: bool | None = None,
) -> RunReport:
    """Train the stages in order in the run folder `out`, continuing what is there (resume="never" refuses to).

    settings: anything that describes the run; written to config.toml, with the stages' own, before step 0.
    parallel: under torchrun, `ddp` copies the model to each process, `fsdp` shards it. keep_last: checkpoints kept.
    A stage with an EMA leaves the averaged weights in its model. Raises UserError for what a user can cause,
    NonFiniteLoss when the loss is no number, and Preempted (a SystemExit) after a signal, once the state is saved.
    """
    bind_local_device()
    place = choose_device(device)
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"two stages have the same name among {names}: every stage needs its own")
    if keep_last < 1:
        raise UserError(f"keep_last={keep_last} must be at least 1")
    folder = RunFolder(Path(out))
    world = join_world(place)
    with stop_on_signals() as request:
        for stage in stages:
            stage.check(world.size)
        with writing(folder.out):
            changed = world.main_first(lambda: folder.begin(settings or {}, stages, resume))
        with run_log(folder.out if world.is_main else None):
            if changed:
                logger.warning("settings differ from those the run began with: %s", "; ".join(changed))
            run = _Run(folder, world, place, seed, precision, parallel, keep_last, progress, request)
            for stage in stages:
                run.train(stage)
            reports = world.main_first(lambda: [stage_metrics(folder, stage.name) for stage in stages])
            return RunReport(out=folder.out, stages=tuple(world.from_main(reports)))


class _Run:
    """What all stages of one run share."""

    def __init__(
        self,
        folder: RunFolder,
        world: World,
        device: torch.device,
        seed: int,
        precision: PrecisionName,
        parallel: Parallel,
        keep_last: int,
        progress: bool | None,
        request: StopRequest,
    ) -> None:
        self.folder, self.world, self.device, self.seed = folder, world, device, seed
        self.precision_name, self.parallel, self.keep_last = precision, parallel, keep_last
        self.progress, self.request = progress, request
        self.run_step = 0
        self.position = 0  # bytes of metrics.jsonl that belong to the finished stages

    def train(self, stage: Stage) -> None:
        """One stage: skipped when finished, continued when begun, else from step 0."""
        seed_everything(derive_seed(self.seed, stage.name, "start"))
        if stage.prepare is not None:
            stage.prepare(stage.model)
        found = self.world.main_first(lambda: finished_stage(self.folder, stage.name))
        finished = self.world.from_main(found)
        if finished is not None and finished["step"] >= stage.steps:
            load_weights(stage.model, read_final(self.folder, stage.name), f"final/{stage.name}")
            stage.model.to(self.device)
            self.run_step, self.position = finished["run_step"], finished["metrics_bytes"]
            logger.info("stage %s: finished before, %d steps", stage.name, finished["step"])
            return
        _StageRun(self, stage).train()


class _StageRun:
    """One stage being trained."""

    def __init__(self, run: _Run, stage: Stage) -> None:
        self.run, self.stage, self.world, self.folder = run, stage, run.world, run.folder
        self.precision = Precision.choose(stage.precision or run.precision_name, run.device)
        self.runner = Runner(stage.model, run.world, run.parallel, run.device, self.precision.compute)
        model = self.runner.model
        optimizers = build_optimizers(
            model,
            optimizer=stage.optimizer,
            lr=stage.lr,
            muon_lr=stage.muon_lr,
            betas=stage.betas,
            eps=stage.eps,
            weight_decay=stage.weight_decay,
            lr_scales=stage.lr_scales,
            fused=not self.runner.sharded and run.device.type in ("cpu", "cuda"),
        )
        self.state = TrainState(
            stage=stage.name,
            model=model,
            optimizers=optimizers,
            ema=EMA(model, stage.ema_decay) if stage.ema_decay else None,
            plateau=Plateau(
                factor=stage.plateau_factor,
                patience=stage.plateau_patience,
                threshold=stage.plateau_threshold,
                floor=stage.lr_floor,
            ),
            run_step=run.run_step,
        )
        self.stepper = Stepper(
            stage, self.state, self.runner, self.precision, run.world, run.seed, run.request
        )
        self.speed = Speed(stage, self.state, self.precision, run.world)

    # ---- resume ---------------------------------------------------------------------------------------------

    def _resume(self) -> int:
        """Read the newest whole checkpoint of this stage, if any; returns the length of metrics.jsonl to keep."""
        found = self.world.from_main(self.world.main_first(self._newest))
        if found is None:
            return self.run.position
        tensors, scalars = read_folder(self.folder.checkpoints / found)
        self.state.load(tensors, scalars, f"checkpoint {found}")
        logger.info("stage %s: continuing from step %d", self.stage.name, self.state.step)
        return int(scalars["metrics_bytes"])

    def _newest(self) -> str | None:
        for path in newest_first(self.folder.checkpoints):
            state = json.loads((path / "train_state.json").read_text(encoding="utf-8"))
            if state["stage"] == self.stage.name:
                return path.name
            if state["run_step"] > self.state.run_step:
                raise UserError(
                    f"the run has gone on to stage {state['stage']!r}, and stage {self.stage.name!r} is asked for "
                    f"{self.stage.steps} steps, more than it was finished with: start a new run folder"
                )
            return None
        return None

    # ---- the loop -------------------------------------------------------------------------------------------

    def train(self) -> None:
        """All steps that are left, then the final weights."""
        stage, state, run = self.stage, self.state, self.run
        position = self._resume()
        metrics: Metrics | None = None
        if self.world.is_main:
            with writing(self.folder.out):
                metrics = Metrics(self.folder.metrics, position, self.folder.out / "tb", state.run_step)
        self.speed.announce()
        batches = microbatches(stage, state.step, rank=self.world.rank, world=self.world.size, seed=run.seed)
        visible = self.world.is_main and (_stderr_is_terminal() if run.progress is None else run.progress)
        try:
            with Progress(stage.name, stage.steps, state.step, visible) as bar:
                state.model.train()
                window_start, data_seconds = time.perf_counter(), 0.0
                while state.step < stage.steps:
                    began = time.perf_counter()
                    learning_rate, waited, stopping = self.stepper.step(batches)
                    data_seconds += waited
                    self.speed.expect(time.perf_counter() - began)
                    bar.advance(state.step)
                    last = state.step == stage.steps
                    record: dict[str, Any] = {}
                    if state.step % stage.log_every == 0 or last:
                        steps = state.meter.count
                        elapsed = max(time.perf_counter() - window_start, 1e-9)
                        record = {f"train/{name}": value for name, value in state.meter.flush().items()}
                        record |= self.speed.rates(steps, elapsed, data_seconds) | {"train/lr": learning_rate}
                        self.speed.line(bar, record)
                        window_start, data_seconds = time.perf_counter(), 0.0
                    if stage.validate and (
                        last or (stage.validate_every and state.step % stage.validate_every == 0)
                    ):
                        measured = self._validate()
                        self._check_watched(measured)
                        record |= measured
                    self._watch_plateau(record)
                    if record and metrics is not None:
                        head = {"step": state.run_step, "stage": stage.name, "stage_step": state.step}
                        with writing(self.folder.out):
                            metrics.write(head | record)
                    if stopping or last or state.step % stage.checkpoint_every == 0:
                        self._checkpoint(metrics)
                    if stopping and not last:
                        logger.info(
                            "stopped by a signal at step %d; run the same command to continue", state.run_step
                        )
                        raise Preempted(stopping, state.run_step)
            self._finish(metrics)
        finally:
            self.stepper.close()
            batches.close()  # type: ignore[attr-defined]
            if metrics is not None:
                metrics.close()

    # ---- validation and schedule ----------------------------------------------------------------------------

    def _validate(self) -> dict[str, float]:
        """The stage's own measurements on the averaged weights; training's random sources are not touched by it."""
        stage, state = self.stage, self.state
        assert stage.validate is not None
        folder = self.folder.samples(state.run_step)
        with writing(self.folder.out):
            self.world.main_first(lambda: folder.mkdir(parents=True, exist_ok=True))
        seed_everything(derive_seed(self.run.seed, stage.name, "validate"))
        state.model.eval()
        average = state.ema.applied_to(state.model) if state.ema is not None else None
        with torch.no_grad(), self.precision.autocast():
            if average is None:
                result = self.runner.evaluate(stage.validate, folder)
            else:
                with average:
                    result = self.runner.evaluate(stage.validate, folder)
        state.model.train()
        if self.world.is_main and not any(folder.iterdir()):
            folder.rmdir()
        values = {name if "/" in name else f"val/{name}": float(value) for name, value in result.items()}
        values = self.world.from_main(values)
        logger.info(
            "step %d  %s", state.run_step, "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        )
        return values

    def _watched(self) -> str | None:
        """The name of the metric that the plateau looks at, if the stage has one."""
        name = self.stage.plateau_metric or "train/loss"
        return None if self.stage.schedule != "plateau" else name if "/" in name else f"val/{name}"

    def _check_watched(self, measured: Mapping[str, float]) -> None:
        name = self._watched()
        if name is not None and not name.startswith("train/") and name not in measured:
            raise UserError(
                f"stage {self.stage.name!r}: the plateau watches {name!r} and the validation gives "
                f"{', '.join(measured) or 'nothing'}: set plateau_metric to one of these"
            )

    def _watch_plateau(self, record: Mapping[str, float]) -> None:
        name = self._watched()
        if name is not None and name in record and self.state.plateau.observe(record[name]):
            logger.info(
                "step %d: %s has stopped improving, learning rate x %.3g",
                self.state.run_step,
                name,
                self.state.plateau.scale,
            )

    # ---- files ----------------------------------------------------------------------------------------------

    def _checkpoint(self, metrics: Metrics | None) -> None:
        """Gather on all processes, write on the main one."""
        state, checkpoints = self.state, self.folder.checkpoints
        tensors = state.gather()

        def write() -> None:
            assert metrics is not None
            folder = checkpoints / f"step_{state.run_step:09d}"
            documents = {
                "train_state.json": json.dumps(state.scalars() | {"metrics_bytes": metrics.position()})
                + "\n",
                "config.json": self.folder.model_config(state.model),
            }
            if folder not in step_folders(checkpoints):
                write_folder(folder, tensors, documents)
            point_latest(checkpoints, folder)
            retain(checkpoints, self.run.keep_last)

        with writing(
            self.folder.out,
            f"training is safe up to the newest folder in checkpoints/ (step {state.run_step})",
        ):
            self.world.main_first(write)

    def _finish(self, metrics: Metrics | None) -> None:
        """Leave the final weights in the model, and in final/<stage>."""
        state, run = self.state, self.run
        if state.ema is not None:
            state.ema.copy_to(state.model)
        weights = state.gather()["model"]
        self.runner.restore_original()
        self.stage.model.to(run.device)
        state.model.zero_grad(set_to_none=True)

        def write() -> int:
            assert metrics is not None
            position = metrics.position()
            # A run killed right after its last checkpoint comes here with the old ones still in place.
            point_latest(self.folder.checkpoints, step_folders(self.folder.checkpoints)[-1])
            retain(self.folder.checkpoints, run.keep_last)
            write_final(self.folder, state, weights, position)
            return position

        with writing(self.folder.out):
            run.position = self.world.from_main(self.world.main_first(write))
        run.run_step = state.run_step


def _stderr_is_terminal() -> bool:
    import sys

    return sys.stderr.isatty()
