"""The columns that staged rows and final tables have in common: what is known of each clip by itself."""

from __future__ import annotations

import pyarrow as pa

STRINGS = pa.list_(pa.string())

METADATA = [
    ("duration_seconds", pa.float64()),
    ("num_frames", pa.int64()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("pix_fmt", pa.string()),
    ("video_codec", pa.string()),
    ("audio_codec", pa.string()),
    ("rotation_degrees", pa.int32()),
    ("bit_rate", pa.int64()),
    ("sample_aspect_ratio", pa.string()),
    ("is_variable_frame_rate", pa.bool_()),
    ("num_decoded_frames", pa.int64()),
]

ENCODING = [
    ("encoding", pa.string()),
    ("encoding_reasons", STRINGS),
    ("encoding_notes", STRINGS),
    ("encoding_ssim", pa.float64()),
]
ENCODING_COLUMNS: tuple[str, ...] = tuple(name for name, _ in ENCODING)
"""Whether a clip was `unchanged`, `remuxed` or `encoded` before it was written; why, what was odd, how near it is."""

SOURCE = [
    ("source_size_bytes", pa.int64()),
    ("source_sha256", pa.string()),
    ("source_width", pa.int32()),
    ("source_height", pa.int32()),
    ("source_fps", pa.float64()),
    ("source_num_frames", pa.int64()),
    ("source_duration_seconds", pa.float64()),
    ("source_video_codec", pa.string()),
    ("source_audio_codec", pa.string()),
]
SOURCE_COLUMNS: tuple[str, ...] = tuple(name for name, _ in SOURCE)
"""What is said of the official file where what is written differs from it; unknown where it does not."""

SOUND = [
    ("sound_size_bytes", pa.int64()),
    ("sound_sha256", pa.string()),
    ("sound_rate", pa.int32()),
    ("sound_num_channels", pa.int32()),
    ("sound_num_samples", pa.int64()),
    ("sound_lead_seconds", pa.float64()),
    ("is_silent", pa.bool_()),
]
SOUND_COLUMNS: tuple[str, ...] = tuple(name for name, _ in SOUND)
"""What is said of the sound where it is a member of its own; unknown where it is not."""
