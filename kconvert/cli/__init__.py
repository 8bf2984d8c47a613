"""The command line: what a person types and sees.

Here live the commands, their arguments and files of options, completion, what is printed, progress, status, the report
page and the guide. Nothing that a conversion does lives here, and nothing below imports it. It implements
`events.Observer`; it owns no interface.
"""
