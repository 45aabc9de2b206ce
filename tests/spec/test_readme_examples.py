"""What the README shows to copy loads."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline_assets.environments import load_environment
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec.loader import SpecError

ROOT = Path(__file__).parents[2]


def example(chapter: str) -> str:
    """The first YAML block below a heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"{chapter}\n")
    found = re.search(r"```yaml\n(.*?)```", rest, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_environment_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "patient.yaml"
    file.write_text(example("### When something fails"))
    environment = load_environment(str(file), variables={})
    assert environment.training.max_restarts == 3
    assert environment.lake.uri == "/mnt/lake"


def test_the_training_example_loads_in_the_shipped_use_case(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "pipeline_assets/defs/churn/defs.yaml").read_text())
    document["attributes"] |= yaml.safe_load(example("## Training"))
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(SpecError, match=r"no setting 'model\.options\.hidden'"):
        load_checked_use_case(file)
    del document["attributes"]["tuning"]["space"]["model.options.hidden"]
    file.write_text(yaml.safe_dump(document))
    assert load_checked_use_case(file).model.options["blocks"] == 4
