"""Where tasks run: on this machine, on a Ray cluster, through Slurm.

Here live the engines, the check of their machines, and what workers may import. Engines know nothing of video, archives
or shards. The interface is `Engine`, in `engine`.
"""
