"""Encoding clips for training: upright, of a size, at a rate, with keyframes where a reader wants them.

`encode` walks the way of one clip, in the video process: `conforming` says whether it may stay as it is, `pictures`
make frames conform, `timeline` says when they are shown, `encoder` encodes them, `sound` keeps or makes the sound,
`mux` writes the file, `written` checks it, `comparison` says how near it is. `options` are what a person asks for.
"""
