"""The article's SimpleCNN, with the input size that its layers ask for."""

from __future__ import annotations

from torch import Tensor, nn

SIZE = 128


class SimpleCnn(nn.Module):
    """float32 [n, 3, 128, 128] → logits [n, 10].

    `fc1` takes 16 · 64 · 64 values: what 128 × 128 pixels leave after one pool of 2. Dropout exists in training only.
    """

    def __init__(self, drop_hidden: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 64 * 64, 128)
        self.drop_hidden = nn.Dropout(drop_hidden)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.fc1(self.flatten(self._features(x))))
        return self.fc2(self.drop_hidden(hidden))

    def _features(self, x: Tensor) -> Tensor:
        """Rectify and pool, in either order the same; pooling first is cheaper to train."""
        if self.training:
            return self.relu(self.pool(self.conv(x)))
        return self.pool(self.relu(self.conv(x)))
