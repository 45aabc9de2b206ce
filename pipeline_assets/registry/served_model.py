"""The model as MLflow loads it: this file is the model's code ("models from code"), nothing is pickled.

`mlflow.pyfunc.load_model` and `mlflow models serve` run this file. It takes rows of validated columns,
checks them against the contract, computes the features (see `online_features`) and returns for each row
`probability` (of the positive class) and `prediction` (1 at or above the threshold of the report).
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from pipeline_assets.registry.inputs import InputError, serving_contract, to_arrow
from pipeline_assets.registry.online_features import OnlineFeatures
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import naive_timezone


class ServedModel(PythonModel):
    """Contract check, features, torch model and threshold in one."""

    def load_context(self, context: Any) -> None:
        """Load weights and specification from the registered artefacts."""
        from pipeline_assets.training.model import load_model

        serving = json.loads(Path(context.artifacts["serving"]).read_text(encoding="utf-8"))
        use_case = UseCase.model_validate(serving["use_case"])
        self._contract = serving_contract(use_case)
        self._timezone = naive_timezone(use_case)
        self._features = OnlineFeatures(use_case)
        self._threshold = float(serving["threshold"])
        self._model = load_model(context.artifacts["model"])

    # MLflow's base class declares that it returns None.
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Data frame of validated columns [n] to a data frame `probability`, `prediction` [n].

        Raises MLflow's invalid-parameter error (status 400) for rows that break the contract.
        """
        try:
            table = to_arrow(pd.DataFrame(model_input), self._contract, timezone=self._timezone)
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        numeric, categorical = self._features.compute(table)
        probability = self._model.predict_proba(numeric, categorical).astype("float64")
        return pd.DataFrame(
            {
                "probability": probability,
                "prediction": (probability >= self._threshold).astype("int64"),
            }
        )


set_model(ServedModel())
