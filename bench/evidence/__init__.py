"""What the verdict finds, and how often it is wrong: shown by simulation, and by regressions made on purpose."""
