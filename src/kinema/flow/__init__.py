"""Generative processes as pure functions. Time runs from t=0 (noise) to t=1 (data). Imports only torch."""

from kinema.flow import diffusion, guidance, objective, paths, schedules, solvers, times, windows
from kinema.flow.guidance import guided
from kinema.flow.objective import flow_matching_loss

__all__ = [
    "diffusion",
    "flow_matching_loss",
    "guidance",
    "guided",
    "objective",
    "paths",
    "schedules",
    "solvers",
    "times",
    "windows",
]
