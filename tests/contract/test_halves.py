"""validated and rejected of two validations are known as such."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.contract.halves import are_halves, require_halves
from pipeline_assets.contract.results import ContractError
from pipeline_assets.lake import Lake, Version


def publish(
    lake: Lake, asset: str, *, raw: str = "a", contract: str = "1", bad: int = 3
) -> Version:
    with lake.dataset("shop", asset).stage() as staged:
        found: dict[str, Any] = {"validation": {"rows_rejected": bad}}
        staged.seal(rows=1, schema=[], upstream={"raw": raw}, code_version=contract, metadata=found)
        return staged.publish()


def test_one_validation_makes_both_halves(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    require_halves(publish(lake, "validated"), publish(lake, "rejected"))


@pytest.mark.parametrize("other", [{"raw": "b"}, {"contract": "2"}, {"bad": 4}])
def test_halves_of_two_validations_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    lake = Lake(str(tmp_path))
    validated, rejected = publish(lake, "validated"), publish(lake, "rejected", **other)
    assert not are_halves(validated, rejected)
    told = f"validated of raw a, rejected of raw {other.get('raw', 'a')}: two validations"
    with pytest.raises(ContractError, match=re.escape(told)):
        require_halves(validated, rejected)
