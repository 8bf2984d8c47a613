"""What a clip is: its metadata, the probers that look into it, the verdict, its frames.

Nothing here knows where a clip comes from. What cannot be trusted to end is bounded here. The interface is `Prober`, in
`prober`; `open` opens one.
"""
