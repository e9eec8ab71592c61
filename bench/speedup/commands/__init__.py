"""What can be asked for without a run: ``python -m bench``."""
