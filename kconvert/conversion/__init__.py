"""One conversion, from its options to its manifest.

Here live the configuration, the plan, the tasks (`ingest`, `pack`), the account, the shuffle, what is written last, the
verification, and the run that walks through them. Where tasks run, what bytes are and how they are stored is not known
here. It owns no interface; it uses those of the packages below.
"""
