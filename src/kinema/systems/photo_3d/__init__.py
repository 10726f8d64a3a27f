"""One Shot 3D Photography (2008.12298): one photo becomes a small textured mesh that can be looked at from the side."""

"""One Shot 3D Photography (2008.12298): one photo becomes a small textured mesh with parallax."""
