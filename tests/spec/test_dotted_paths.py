"""A dotted path that leads nowhere, or an option that its function does not take, is refused when the file is read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec.loader import SpecError

FRAUD = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "card_fraud" / "defs.yaml"
PRECISION = "pipeline_assets.evaluation.business.card_precision:card_precision_at_k"


def problems(tmp_path: Path, **changes: Any) -> str:
    document = yaml.safe_load(FRAUD.read_text())
    for section, values in changes.items():
        document["attributes"].setdefault(section, {}).update(values)
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(SpecError) as refused:
        load_checked_use_case(file)
    return str(refused.value)


def metric(function: str, **options: object) -> dict[str, Any]:
    return {"metrics": [{"name": "precision_a_day", "function": function, "options": options}]}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model": {"factory": "pipeline_assets.training.models.mpl:build"}}, "no Python module"),
        ({"model": {"factory": "nowhere.at_all:build"}}, "no Python module 'nowhere.at_all'"),
        ({"model": {"factory": "pipeline_assets.training.models.mlp"}}, "module:function"),
        (
            {"model": {"factory": "pipeline_assets.training.models.mlp:bild"}},
            "has no 'bild'; did you mean 'build'?",
        ),
        ({"evaluation": metric(f"{PRECISION}y", entity="CUSTOMER_ID")}, "card_precision_at_k'?"),
        ({"evaluation": metric(PRECISION)}, "needs the option 'entity'"),
        (
            {"evaluation": metric(PRECISION, entity="CUSTOMER_ID", kk=1)},
            "takes no option 'kk'; it takes entity, k, exclude_detected",
        ),
    ],
)
def test_refused_with_file_and_line(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    message = problems(tmp_path, **changes)
    assert wanted in message
    assert message.startswith(f"{tmp_path / 'defs.yaml'}:")
