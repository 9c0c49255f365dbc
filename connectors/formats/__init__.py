"""Files with rows (Parquet, CSV, JSON Lines, plain or packed with gzip), for every adapter whose
store consists of such files: searching one for a person, and writing it anew without them."""
