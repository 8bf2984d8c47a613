"""Boxes of ISO files."""

import time

from kconvert.video.boxes import video_seconds


def test_how_long_tracks_last_is_told_in_no_time_however_often_it_is_stated() -> None:
    def box(kind: bytes, *content: bytes) -> bytes:
        inside = b"".join(content)
        return (8 + len(inside)).to_bytes(4, "big") + kind + inside

    times = box(b"stts", bytes(4), (100_000).to_bytes(4, "big"), 100_000 * (1).to_bytes(4, "big") * 2)
    tables = box(b"minf", box(b"stbl", times))
    states = [box(b"mdhd", bytes(12), (1000).to_bytes(4, "big"), (100_000).to_bytes(4, "big"))] * 1000
    track = box(b"trak", box(b"mdia", *states, box(b"hdlr", bytes(8), b"vide", bytes(12)), tables))
    start = time.process_time()
    found = list(video_seconds(box(b"ftyp", b"isom", bytes(4)) + box(b"moov", track)))
    assert found == [(100.0, 100.0)] * 1000
    assert time.process_time() - start < 2
