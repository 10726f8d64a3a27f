"""SWAG (2201.08371): networks that learned to see by predicting the hashtags of pictures."""
