"""Columns: values of one kind, one a row, as Arrow holds them, and what is made of some of them together.

A release has ten million rows, of each of which Python objects would take kilobytes. What is known of the clips of a
split stays in columns from its annotations to its table; Python looks at some rows at a time, or at each value once.
Nothing here knows what a clip is. Its interface is `Column`.
"""
