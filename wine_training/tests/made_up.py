"""Made-up wines, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

UCI_HEADER = (
    "fixed acidity",
    "volatile acidity",
    "citric acid",
    "residual sugar",
    "chlorides",
    "free sulfur dioxide",
    "total sulfur dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
    "quality",
)

WriteCsv = Callable[..., Path]


def made_up_rows(n_rows: int, seed: int = 0) -> list[list[str]]:
    """Return rows of uniform noise under `UCI_HEADER`, with qualities 4, 5, 6, 7, 4, ..."""
    cells = np.random.RandomState(seed).random_sample((n_rows, 11)).round(3)
    return [[*map(str, row), str(4 + i % 4)] for i, row in enumerate(cells.tolist())]
