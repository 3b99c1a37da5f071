"""Every metric as a pure function of arrays: no device, no files, no printing; float64 inside."""
