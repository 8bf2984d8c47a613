"""One module a format; its name is what `--to` calls it, and its `FORMAT` is one.

The interface is `Format`, in `format`; `open` finds one by its name.
"""
