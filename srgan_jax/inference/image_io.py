"""Pictures in and out by rows: what arrives (image_reader) and what leaves (image_writer)."""

from srgan_jax.inference.image_reader import ENDINGS, MAX_PIXELS, SEVERAL, Picture, open_picture
from srgan_jax.inference.image_writer import FORMATS, check_output, write_picture

__all__ = ["ENDINGS", "FORMATS", "MAX_PIXELS", "SEVERAL", "Picture", "check_output", "open_picture", "write_picture"]
