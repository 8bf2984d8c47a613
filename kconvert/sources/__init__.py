"""Where bytes come from: origins, fetching, archives and their members, the archive cache.

Nothing here knows what a clip is worth, or where it goes. The interfaces are `Origin`, in `origin`, and `ByteStream`,
in `fetch.stream`.
"""
