"""The columns of a store's tables."""

import pyarrow as pa

PLAN = pa.schema([("key", pa.string()), ("uri", pa.string()), ("shard", pa.int32())])
METADATA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("image_path", pa.string()),
        ("caption", pa.string()),
        ("group", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("text_row", pa.int32()),
        ("text_truncated", pa.bool_()),
        ("fingerprint", pa.string()),
    ]
)
ERRORS = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("group", pa.string()),
        ("caption", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("fingerprint", pa.string()),
    ]
)
