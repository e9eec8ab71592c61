"""The measurements: how much faster Ray trains a sweep of models than a plain loop."""
