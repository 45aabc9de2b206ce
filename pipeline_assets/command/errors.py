"""The error of this package, and which errors of the others are the user's to mend."""


class CommandError(Exception):
    """Something that the person at the keyboard can mend; the message says what, where and how."""


def domain_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is written for people: shown as they are, without a stack trace."""
    from pipeline_assets.contract.results import ContractError
    from pipeline_assets.engine.errors import EngineError
    from pipeline_assets.environments.types import InvalidEnvironment
    from pipeline_assets.lake.errors import LakeError
    from pipeline_assets.shards.index import ShardError
    from pipeline_assets.spec.loader import SpecError
    from pipeline_assets.spec.training_dates import TrainingDateError
    from pipeline_assets.training.config import TrainingError

    return (
        CommandError,
        SpecError,
        LakeError,
        InvalidEnvironment,
        EngineError,
        ContractError,
        TrainingDateError,
        TrainingError,
        ShardError,
    )
