"""What the tests of every folder of experiments do: import its scripts, and run one of them quickly."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture
def experiment(request, monkeypatch):
    """Imports a script of the test module's FOLDER."""
    monkeypatch.syspath_prepend(str(request.module.FOLDER))
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)  # the commands take one


@pytest.fixture
def quick(experiment, monkeypatch, tmp_path: Path) -> Callable[[str], None]:
    """Runs a script with `--quick` and looks at what it wrote."""

    def run(name: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(tmp_path)])
        experiment(name).main()
        result = json.loads((tmp_path / f"{name}.json").read_text())
        arms = result["arms"]
        assert result["quick"]
        assert len(arms) >= 3
        figures = [set(row) for row in arms.values()]
        assert all(f == figures[0] for f in figures)
        assert all(len(cell["values"]) == 1 for row in arms.values() for cell in row.values())
        assert (tmp_path / f"{name}.png").stat().st_size > 5000

    return run
