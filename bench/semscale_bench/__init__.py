"""Measured claims: `semscale bench`."""
