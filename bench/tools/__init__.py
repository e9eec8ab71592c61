"""Commands of this suite alone: how far the speedup goes on more CPUs, and nights with regressions made on purpose."""
