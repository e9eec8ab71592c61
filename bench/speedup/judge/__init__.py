"""Judging: what the runs of a series say of its latest one, cell by cell and all together; A against B."""
