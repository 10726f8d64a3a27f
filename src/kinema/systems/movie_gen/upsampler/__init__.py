"""Movie Gen's spatial upsampler: a low-resolution clip and noise in, a larger clip out, by flow matching."""
