"""A simulated Earth and a simulated Sentinel archive, served on this machine. SIMULATED DATA.

Everything is a function of (place, time, sensor, seed): nothing is stored, nothing is downloaded.
`orbits`, `tiles` and `archive` say which scenes exist, `planet`, `sky`, `optical` and `radar` what
their pixels are, `tiff` and `blobs` serve them as files, `api` as a STAC catalog.
"""
