"""The structure of the code, from its own imports."""
