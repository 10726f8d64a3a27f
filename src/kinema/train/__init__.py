"""One loop for every recipe: stages, optimisers, parallelism, checkpoints that resume to the same numbers.

report = run_stages([Stage(name="video", model=model, loss=loss, batches=batches, steps=1000, batch_size=32)], out)
"""

from kinema.train.ema import EMA
from kinema.train.loop import RunReport, run_stages
from kinema.train.metrics import read_metrics
from kinema.train.precision import Precision, choose_device
from kinema.train.seeds import derive_seed, make_generator, per_sample_randn, seed_everything, shuffled
from kinema.train.signals import Preempted
from kinema.train.stage import BatchIndex, Recipe, Stage
from kinema.train.step import NonFiniteLoss

__all__ = [
    "EMA",
    "BatchIndex",
    "NonFiniteLoss",
    "Precision",
    "Preempted",
    "Recipe",
    "RunReport",
    "Stage",
    "choose_device",
    "derive_seed",
    "make_generator",
    "per_sample_randn",
    "read_metrics",
    "run_stages",
    "seed_everything",
    "shuffled",
]
