"""Movie Gen Audio (2410.13720, section 6): sound for a clip, from text, or from the sound around a gap."""
