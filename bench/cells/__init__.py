"""All that the cells need of wine and Ray."""
