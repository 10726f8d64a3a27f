"""Omnivore (2201.08377): one network for images, clips and single-view RGB-D."""
