"""The fast way from shards on disk to batches: direct reads, orders, rings, the device.

The reading process imports `shards`, `chips`, `finish` and `__main__` and nothing heavier, so that
a first batch does not wait for torch, zarr or pandas to be imported a second time.
"""
