"""show and verify, on a lake written by hand."""

import json
from pathlib import Path

import pytest

from pipeline_assets.__main__ import main
from pipeline_assets.command.table import place
from pipeline_assets.lake import Lake


def test_nothing_published_says_what_to_run(use_cases: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["show", "shop"]) == 1
    assert "pipeline_assets run shop" in capsys.readouterr().out


def test_json_holds_everything(full_lake: Lake, capsys: pytest.CaptureFixture[str]):
    assert main(["show", "shop", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [asset["asset"] for asset in found["assets"]][:3] == ["raw", "validated", "rejected"]
    assert found["missing"] == []
    assert found["validation"]["violations"] == {
        "bought.allowed": 5,
        "id.type": 2,
        "malformed_line": 1,
    }
    assert found["validation"]["malformed_by_reason"] == {"too many fields": 1}
    assert found["evaluation"]["predictors"][0]["metrics"]["roc_auc"]["value"] == 0.9
    assert found["evaluation"]["best_possible_auc"]["value"] == 0.91
    assert found["model"]["alias"] == "challenger"
    assert found["report"].endswith("/report.html")
    assert found["splits"]["train"] == {"rows": 6, "label_rate": 0.5}
    assert found["profile"]["bottleneck"]["stage"] in found["profile"]["stages"]
    assert "rejected" not in found["profile"]["stages"]


def test_text_names_versions_rules_metrics_and_places(
    full_lake: Lake, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", "shop"]) == 0
    text = capsys.readouterr().out
    current = full_lake.dataset("shop", "raw").require()
    assert current.data_version in text
    assert current.version in text
    assert "Rejected: 3 of 13 rows (23.08%)" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["id.type", "2", "rejected"] in lines
    assert ["bought.allowed", "5", "counted"] in lines
    assert "0.9000 [0.8900, 0.9100]" in text
    assert "best possible ROC AUC" in text
    assert "0.9100" in text
    assert "models:/shop/3" in text
    assert f"Folder: {place(full_lake.dataset('shop', 'trained_model').require().uri)}" in text
    assert "worst slice: country NZ" in text
    assert "file://" not in text


def test_an_asset_made_from_an_older_input_is_named(
    full_lake: Lake, capsys: pytest.CaptureFixture[str]
):
    with full_lake.dataset("shop", "raw").stage() as staged:
        staged.write_bytes("rows/part-00000.parquet", b"new content")
        staged.seal(rows=1, schema=[], upstream={}, run_id=None, metadata={})
        staged.publish()
    main(["show", "shop"])
    assert "validated was made from an older version of raw" in capsys.readouterr().out


def test_halves_of_two_validations_are_told(
    full_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["show", "shop"])
    assert "two validations" not in capsys.readouterr().out
    with full_lake.dataset("shop", "rejected").stage() as staged:
        staged.seal(rows=2, schema=[], upstream={"raw": "of another day"})
        staged.publish()
    main(["show", "shop"])
    assert "validated and rejected are of two validations" in capsys.readouterr().out
    main(["show", "shop", "--json"])
    assert json.loads(capsys.readouterr().out)["unlike_halves"] == ["all"]
    assert main(["replay", "shop"]) == 2
    assert "materialise validated and rejected again" in capsys.readouterr().err


def test_an_unknown_use_case_is_one_sentence_with_the_nearest_name(
    use_cases: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", "shpo"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "did you mean 'shop'?" in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_a_mistake_in_another_use_case_does_not_matter(
    full_lake: Lake, use_cases: Path, capsys: pytest.CaptureFixture[str]
):
    broken = use_cases / "broken" / "defs.yaml"
    broken.parent.mkdir()
    broken.write_text("type: pipeline_assets.MLPipeline\nattributes: {sauce: 1}\n")
    assert main(["show", "shop"]) == 0
    assert main(["show", "broken"]) == 2
    assert "sauce" in capsys.readouterr().err


def test_verify_finds_nothing_wrong(full_lake: Lake, capsys: pytest.CaptureFixture[str]):
    assert main(["verify"]) == 0
    assert main(["verify", "shop"]) == 0
    assert "10 versions" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing", "changed", "same_size", "extra", "manifest"])
def test_verify_names_the_damaged_file(
    full_lake: Lake, damage: str, capsys: pytest.CaptureFixture[str]
):
    folder = full_lake.dataset("shop", "features").require().local_path()
    file = folder / "rows" / "part-00000.parquet"
    if damage == "missing":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(b"something longer")
    elif damage == "same_size":
        file.write_bytes(file.read_bytes()[::-1])
    elif damage == "extra":
        file = folder / "rows" / "part-00001.parquet"
        file.write_bytes(b"")
    else:
        file = folder / "manifest.json"
        file.unlink()
    assert main(["verify"]) == 1
    said = capsys.readouterr().out
    assert str(file if damage != "manifest" else folder.parent.parent) in said
    assert "1 problem" in said


def test_verify_of_nothing_is_a_mistake(use_cases: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", "shop"]) == 2
    assert "nothing is published" in capsys.readouterr().err
