"""Training from the clips of a folder with torch: which clips each rank sees in each epoch, and what a sample is.

`order` knows no torch; `clip_sampler` and `clip_dataset` are what `kconvert.torch` gives out.
"""
