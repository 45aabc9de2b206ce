"""Judging a trained model on the untouched test split.

Belongs here: metrics, threshold, baselines, bootstrap, slices, importance, plots, report and gate.
Does not belong here: training the model (`training`), registering it (`registry`), drift (`monitoring`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_assets.evaluation.evaluating import evaluate, evaluate_rows
    from pipeline_assets.evaluation.gating import gate
    from pipeline_assets.evaluation.leakage import permuted_label_check
    from pipeline_assets.evaluation.plots import evaluation_plots
    from pipeline_assets.evaluation.report import render_report
    from pipeline_assets.evaluation.result import Evaluation, GateResult

__all__ = [
    "Evaluation",
    "GateResult",
    "evaluate",
    "evaluate_rows",
    "evaluation_plots",
    "gate",
    "permuted_label_check",
    "render_report",
]

_MODULES = {
    "Evaluation": "result",
    "GateResult": "result",
    "evaluate": "evaluating",
    "evaluate_rows": "evaluating",
    "gate": "gating",
    "permuted_label_check": "leakage",
    "evaluation_plots": "plots",
    "render_report": "report",
}


def __getattr__(name: str) -> Any:
    """Import on first use: scipy, matplotlib and pydantic models stay out of a mere package import."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
