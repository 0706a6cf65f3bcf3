"""SRGAN in JAX: single-image super-resolution from a laptop's CPU to a pod slice."""

__version__ = "0.1.0"
