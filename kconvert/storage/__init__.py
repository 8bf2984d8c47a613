"""Stores of files: whole or not at all, with digests, ranges and locks; gzip and its checksum.

Here live the folders of this machine, buckets, and leases. Nothing here knows what is stored. The interface is `Store`,
in `store`; `open` finds the one that a person names.
"""
