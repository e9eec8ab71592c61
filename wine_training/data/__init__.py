"""The Wine Quality data: `load_wine` reads them from OpenML, from CSV files or from the embedded twin."""

from wine_training.data.table import FEATURES, GOOD_QUALITY, WINE_KINDS, WineDataError
from wine_training.data.wines import SOURCES, WineData, load_wine

__all__ = ["FEATURES", "GOOD_QUALITY", "SOURCES", "WINE_KINDS", "WineData", "WineDataError", "load_wine"]
