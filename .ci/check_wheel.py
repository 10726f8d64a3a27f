"""Build the wheel and hold it against the tracked files: weights and atlases must travel with the code."""

import subprocess
import sys
import zipfile
from pathlib import Path


def main(folder: Path) -> None:
    """Build into `folder`, then compare what the wheel holds with what git tracks under src/kinema."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        build = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), "."]
    else:
        build = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("kinema-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "src/kinema"], capture_output=True, text=True, check=True
    ).stdout
    tracked = {name.removeprefix("src/") for name in listed.splitlines()}
    if missing := sorted(tracked - inside):
        sys.exit(f"{wheel.name} lacks {len(missing)} tracked files, the first: {', '.join(missing[:5])}")
    print(f"{wheel.name}: {len(inside)} files, {wheel.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
