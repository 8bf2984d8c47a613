"""What datasets are: the releases as data, the names of clips, the forms of annotations.

Nothing here fetches or writes anything. It owns no interface.
"""
