"""What is written, and how it is read back: formats, tables, the manifest, the reader, pipelines for training.

Nothing here knows how a dataset is made, or from what. The interface is `Format`, in `formats.format`.
"""
