"""Going on from a checkpoint: after an interruption, or after a loss that was not finite."""

from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline_assets.training.checkpoint import TrainingState, begin_with, remove_leftovers
from pipeline_assets.training.checkpoint_reader import load_checkpoint, restore
from pipeline_assets.training.collectives import gather_rows, wait_for_all
from pipeline_assets.training.config import TrainingConfig, TrainingError
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.not_finite import NotFinite
from pipeline_assets.training.parallelize import Ranks
from pipeline_assets.training.progress import Progress


def resume(
    folder: Path,
    fingerprint: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
    progress: Progress,
    heartbeat: Heartbeat,
) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """Load the newest checkpoint into network and optimiser; a collective.

    The leading rank holds the lock of the folder.

    Returns:
        The state and the best weights so far, or None where there is nothing to go on from.

    Raises:
        TrainingError: the ranks do not see the same checkpoint.
    """
    if ranks.leads:
        remove_leftovers(folder)
    parts = network, optimizer, ranks, progress, heartbeat
    found = _load(folder, fingerprint, *parts, end_of_epoch=False)
    if found is not None:
        state = found[0]
        if ranks.leads:
            begin_with(folder, state.name)
        epoch = len(state.history)
        where = f"in epoch {epoch + 1}" if state.in_epoch else f"after epoch {epoch}"
        progress.say(f"resumed {where} ({state.position:,} batches done)")
    return found


def go_back(
    fault: NotFinite,
    config: TrainingConfig,
    state: TrainingState,
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
    progress: Progress,
    heartbeat: Heartbeat,
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Load the last state at the end of an epoch (or the start) and note the reload; a collective.

    States in mid-epoch are saved by the clock; only the others are at the same place in every run.

    Raises:
        TrainingError: the policy is to stop, or there were too many reloads.
    """
    advice = (
        "These rows are in the asset `features`, by its column `_row_id`: look at them, or lower "
        f"learning_rate ({config.learning_rate}) or gradient_clip ({config.gradient_clip})"
    )
    reloads = state.reloads
    if config.on_not_finite == "stop":
        raise TrainingError(f"{fault}. {advice}") from None
    if len(reloads) >= config.max_reloads:
        raise TrainingError(
            f"{fault}, after {len(reloads)} reloads with ever lower rates. {advice}"
        ) from None
    parts = network, optimizer, ranks, progress, heartbeat
    found = _load(folder, state.fingerprint, *parts, end_of_epoch=True)
    if found is None:
        raise TrainingError(f"{fault}; no checkpoint to go back to is left in {folder}") from None
    earlier, best = found
    entry = {"epoch": fault.epoch, "batch": fault.batch, "row_ids": fault.row_ids}
    earlier.reloads = [*reloads, entry]
    progress.warn(
        f"{fault}; going on from {_where(earlier)} with the learning rate times "
        f"{config.reload_rate_factor ** len(earlier.reloads):g} "
        f"(reload {len(earlier.reloads)} of at most {config.max_reloads})"
    )
    return earlier, best


def _where(state: TrainingState) -> str:
    return f"the end of epoch {len(state.history)}" if state.history else "the start"


def _load(
    folder: Path,
    fingerprint: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
    progress: Progress,
    heartbeat: Heartbeat,
    *,
    end_of_epoch: bool,
) -> tuple[TrainingState, dict[str, Tensor]] | None:
    wait_for_all(ranks)
    state, content, notes = load_checkpoint(
        folder, fingerprint, end_of_epoch=end_of_epoch, on_progress=heartbeat.alive
    )
    for note in notes:
        progress.warn(note)
    seen = [-1, 0] if state is None else [state.position, len(state.reloads)]
    by_rank = gather_rows(torch.tensor([seen], device=ranks.device), ranks).tolist()
    positions = [position for position, _ in by_rank]
    if any(other != by_rank[0] for other in by_rank):
        raise TrainingError(
            f"the ranks see different checkpoints in {folder} (batches done, by rank: {positions}; "
            "-1 is none; or of different reloads): all nodes need the same folder, on a shared file system"
        )
    if state is None:
        return None
    best = restore(content, network, optimizer)
    # All have read it before anyone may replace it.
    wait_for_all(ranks)
    return state, best
