"""Whether the packages of the extra `tune` are there."""

from importlib.util import find_spec

from pipeline_assets.tuning.errors import TuningError


def require_extra() -> None:
    """Raise `TuningError` that names the extra where Ray or Optuna is not installed."""
    missing = [package for package in ("ray", "optuna") if find_spec(package) is None]
    if missing:
        raise TuningError(
            f"a study needs {' and '.join(missing)}, not installed here: "
            'pip install "pipeline_assets[tune]"'
        )
