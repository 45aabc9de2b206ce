"""Cost-weighted savings: what acting on the model saves of the loss that doing nothing would cost.

Bahnsen et al. 2014, Improving Credit Card Fraud Detection with Calibrated Probabilities: savings are one
minus the cost with the model over the cost without, where a missed positive costs its own amount.
"""

from __future__ import annotations

import numpy as np

from pipeline_assets.evaluation.business.rows import Measured, ScoredRows


def cost_weighted(
    rows: ScoredRows, *, amount: str, alarm_cost: float = 0.0, loss_share: float = 1.0
) -> Measured | float:
    """The share of the losses that is saved: 1 is all at no cost, 0 is doing nothing, below 0 is worse.

    Rows at or above the decision threshold are alarms. NaN where there is nothing to lose.

    Args:
        rows: the scored test rows.
        amount: carried column, what a positive row loses when it is missed; missing amounts count as 0.
        alarm_cost: cost of handling one alarm, in the unit of the amounts.
        loss_share: share of the amount that a missed positive row loses.

    Raises:
        ValueError: the column is not carried, or a cost is negative.
    """
    if alarm_cost < 0 or loss_share <= 0:
        raise ValueError(
            f"alarm_cost is {alarm_cost!r} and loss_share {loss_share!r}; costs are not negative"
        )
    amounts = np.nan_to_num(rows.column(amount).astype(np.float64), nan=0.0)
    losses = loss_share * amounts * (rows.label > 0)
    costs = np.where(rows.flagged, alarm_cost, losses)
    value = _savings(costs, losses)
    if rows.day is None:
        return value
    return Measured(
        value=value,
        daily={
            day: _savings(costs[rows.day == day], losses[rows.day == day])
            for day in np.unique(rows.day)
        },
    )


def _savings(costs: np.ndarray, losses: np.ndarray) -> float:
    total = losses.sum()
    return float(1 - costs.sum() / total) if total > 0 else float("nan")
