"""Build the wheel and hold it against the tracked files: weights and atlases must travel with the code."""

import subprocess
import sys
import zipfile
from pathlib import Path


def package_files() -> set[str]:
    """What git tracks under src/kinema; where git cannot say, what lies there."""
    git = subprocess.run(["git", "ls-files", "src/kinema"], capture_output=True, text=True, check=False)
    names = git.stdout.splitlines() or [
        str(path) for path in Path("src/kinema").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    return {name.removeprefix("src/") for name in names}


def main(folder: Path) -> None:
    """Build into `folder`, then compare what the wheel holds with the files of the package."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        build = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), "."]
    else:
        build = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("kinema-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    if missing := sorted(package_files() - inside):
        sys.exit(f"{wheel.name} lacks {len(missing)} tracked files, the first: {', '.join(missing[:5])}")
    print(f"{wheel.name}: {len(inside)} files, {wheel.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
