"""What a run leaves for the next: the journal with its receipts, the parts, and how far it is.

Nothing here is read by anybody but kconvert, and nothing of it is needed once the manifest is there. It owns no
interface.
"""
