"""Temporary folders of processes that were killed are removed, and no others."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline_assets.temporary import make_temporary_folder, temporary_folder

OWNER = """
import time
from pipeline_assets.temporary import make_temporary_folder
print(make_temporary_folder("trained_model"), flush=True)
time.sleep(60)
"""


def test_only_folders_of_the_dead_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    theirs = Path(owner.stdout.readline().strip())
    (theirs / "model").write_text("half")
    others = [tmp_path / "pipeline_assets_ray_abc", tmp_path / "something"]
    for other in others:
        other.mkdir()
    mine = make_temporary_folder("spark")
    # Of a process that had the same id before.
    earlier = mine.with_name(".".join([*mine.name.split(".")[:3], "1", "abc"]))
    earlier.mkdir()
    with temporary_folder("launch") as folder:
        assert folder.is_dir() and folder.stat().st_mode & 0o777 == 0o700
        assert theirs.exists() and mine.exists() and not earlier.exists()
    assert not folder.exists()
    owner.kill()
    owner.communicate()
    make_temporary_folder("spark")
    assert not theirs.exists() and mine.exists() and all(other.exists() for other in others)
