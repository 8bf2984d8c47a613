"""What a clip is: its metadata, the probers that look into it, the verdict, its frames.

Nothing here knows where a clip comes from. Libraries that look into clips run in the video process (`process`), where
time and memory are bounded. The interface is `Prober`, in `prober`; `open` opens one.
"""
