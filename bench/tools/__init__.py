"""Commands of this suite alone: how far the speedup goes on more CPUs, and rehearsed nights."""
