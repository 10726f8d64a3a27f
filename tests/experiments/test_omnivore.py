"""The experiment on Omnivore runs from its command to a result and a plot."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "omnivore"


def test_quick_run_writes_figures_and_a_plot(quick):
    quick("one_for_three")


def test_scenes_of_queries_and_galleries_are_others(experiment):
    study = experiment("one_for_three")
    queries, gallery = study.indices("val", 0, 20), study.indices("val", 500_000, 20)
    assert not set(queries) & set(gallery)
    pixels, groups, objects = study.samples("rgbd", "val", 0, 8)
    assert pixels.shape == (8, 4, 1, 32, 32)
    names = [study.OBJECTS[k] for k in objects.tolist()]
    kinds = [study.CLASSES["rgbd"][k] for k in groups.tolist()]
    assert all(name in study.GROUPS[kind] for name, kind in zip(names, kinds, strict=True))
