"""Supplements as they are written: tables of further annotations, joined with the clips of a folder.

The interface is `Supplement`; each kind has its module. What the annotations say and how they are joined is the
catalogue's; where videos are, and when their frames are shown, is asked for.
"""
