"""A copy of what the container files name, to be mutated by tests."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's files without its data and virtual environment."""
    target = tmp_path / "project"
    for name in ("docker", "pipeline_assets"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "LICENSE", "workspace.yaml", ".gitignore"):
        shutil.copy(ROOT / name, target / name)
    readme = ROOT / "README.md"
    (target / "README.md").write_text(readme.read_text() if readme.exists() else "")
    return target
