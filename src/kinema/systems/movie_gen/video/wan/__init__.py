"""Wan 2.1's configuration of a text-to-video transformer: open weights through kinema's own sampler."""
