"""Mistakes in a `defs.yaml` are refused with file, line, key and a suggestion."""

from pathlib import Path

import pytest

from pipeline_assets.spec.loader import SpecError, load_use_case
from pipeline_assets.spec.problems import Problem

GOOD = """\
type: pipeline_assets.MLPipeline
attributes:
  source:
    uri: "{{ env.SOURCE or 'data/landing' }}"
    format: csv
  contract:
    key: [id]
    columns:
      - {name: id, type: int64}
      - name: amount
        type: float64
        min: 0
      - {name: label, type: int32, allowed: [0, 1]}
  features:
    columns:
      - {name: amount, kind: numeric}
    label: {column: label}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "shop" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, text: str) -> str:
    file = write(folder, text)
    with pytest.raises(SpecError) as error:
        load_use_case(file)
    return str(error.value).replace(str(file), "defs.yaml")


def test_defaults_come_from_the_folder_and_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    use_case = load_use_case(file.parent, env={})
    assert use_case.name == "shop"
    assert use_case.source.uri == "data/landing"
    assert load_use_case(file, env={"SOURCE": "s3://bucket/x"}).source.uri == "s3://bucket/x"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "        type: float64",
            "        typ: float64",
            "defs.yaml:11: contract.columns[1].typ: unknown key 'typ'; did you mean 'type'?",
        ),
        (
            "type: float64",
            "type: flaot64",
            "defs.yaml:11: contract.columns[1].type: 'flaot64' is not one of",
        ),
        ("type: float64", "type: flaot64", "did you mean 'float64'?"),
        ("    format: csv\n", "", "defs.yaml:3: source.format: the key 'format' is required"),
        ("min: 0", "min: [0]", "defs.yaml:12: contract.columns[1].min"),
        (
            "  features:",
            "  featurs:",
            "defs.yaml:14: featurs: unknown key 'featurs'; did you mean 'features'?",
        ),
        (
            "{name: amount, kind: numeric}",
            "{name: amount, kind: numerical}",
            "defs.yaml:16: features.columns[0].kind",
        ),
        (
            "key: [id]",
            "key: [id]\n    key: [label]",
            "defs.yaml:8: key 'key' is given twice (first on line 7)",
        ),
        ("env.SOURCE or 'data/landing'", "env.SOURCE or", "defs.yaml:4: source.uri: template"),
        ("    key: [id]", "    key: [id", "not valid YAML"),
        (
            "- {name: label, type: int32, allowed: [0, 1]}",
            "- {name: id, type: int32}",
            "columns declared more than once: id",
        ),
    ],
)
def test_mistakes_name_line_key_and_remedy(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    assert expected in refused(tmp_path, GOOD.replace(old, new))


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("kind: numeric", "kind: number").replace("min: 0", "minimum: 0")
    assert len(refused(tmp_path, text).splitlines()) == 2


def test_checks_report_where_their_path_is_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    problem = Problem(path=("features", "columns", 0, "name"), message="bad", suggestion="do this")
    with pytest.raises(
        SpecError, match=r"defs\.yaml:16: features\.columns\[0\]\.name: bad; do this"
    ):
        load_use_case(file, checks=[lambda use_case: [problem]])


def test_missing_file_and_foreign_yaml(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_use_case(tmp_path)
    assert "expected" in refused(tmp_path, "- a\n- b\n")
