"""The bytes of one resource as a stream, over HTTP, from an object store or from a file.

The interface is `ByteStream`, in `stream`; `open` opens one, and `ahead` one that is fetched before it is asked for.
"""
