"""A miniature of the official server: every release and anomaly, a few clips, and what is right to say of them.

    python -m miniature build DIR [--clips DIR --annotations DIR]
    python -m miniature serve DIR [--port N]

`build` makes clips of its own, or takes real ones. `serve` answers on loopback as S3 does: Range, If-Range, ETag, 416.
"""
