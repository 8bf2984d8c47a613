"""The bytes of one resource as a stream, over HTTP, from an object store or from a file.

Two interfaces live here: `Resource`, implemented by `http`, `objects` and `local`, gives the bytes from any offset on,
without trying again; `ByteStream` is what a reader gets. `resource_stream` makes the second of the first, under the one
retry policy of `retry`; `ahead` does so over several connections at once.
"""
