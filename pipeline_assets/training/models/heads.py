"""The last layer: as many outputs as the task has."""

from torch import Tensor, nn

from pipeline_assets.training.config import ModelConfig


class Head(nn.Linear):
    """f32 [n, width] -> [n, *config.output_shape]."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__(width, config.output_shape[0] if config.output_shape else 1)
        self._scalar = not config.output_shape

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, width]."""
        output = super().forward(input)
        return output.squeeze(1) if self._scalar else output
