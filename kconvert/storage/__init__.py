"""Files and objects: whole or not at all, with digests, ranges and locks; gzip and its checksum.

Nothing here knows what is stored. It owns no interface yet: `files.AnyPath` is a folder's path or an object's.
"""
