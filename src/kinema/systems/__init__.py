"""The systems: one paper, one room."""
