"""Measuring: pairs of runs and the factors between them, costs, engines side by side, and what makes a cell."""
