"""What importing costs, and that the folder travels whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import kinema

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")]
    if path.is_file()
)


def modules_after(code: str) -> set[str]:
    """The modules of a fresh interpreter that ran `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_kinema_imports_nothing_heavy():
    assert not modules_after("import kinema") & {"torch", "numpy", "PIL", "av", "typer", "rich", "pydantic"}


@pytest.mark.parametrize("module", ["kinema.hub", "kinema.cli", "kinema.media"])
def test_no_torch_before_something_computes(module):
    assert "torch" not in modules_after(f"import {module}")


def test_the_runtime_never_imports_the_peers():
    peers = {"torchvision", "transformers", "diffusers", "timm", "open_clip", "torchaudio"}
    names = ["media", "nn", "flow", "codecs", "text", "data", "train", "world", "weights", "hub", "cli"]
    loaded = modules_after("\n".join(f"import kinema.{name}" for name in names))
    assert "torch" in loaded
    assert not loaded & peers


def test_load_is_the_one_name_that_is_looked_up_late():
    from kinema.hub import load

    assert kinema.load is load
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        kinema.lode  # noqa: B018


def test_the_package_is_typed():
    assert (Path(kinema.__file__).parent / "py.typed").is_file()


def test_the_version_is_told_once():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {kinema.__version__}\n" in citation


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        target
        for target in targets
        if not target.startswith(("http", "#", "mailto:"))
        and not (page.parent / target.split("#")[0]).exists()
    ]
    assert not broken
