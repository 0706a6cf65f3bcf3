"""SRGAN in JAX: single-image super-resolution from a laptop's CPU to a pod slice.

`load` and `upscale` are for programs that use a trained network; the rest is reached by `python -m srgan_jax`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srgan_jax.library import Model as Model
    from srgan_jax.library import load as load
    from srgan_jax.library import upscale as upscale

__version__ = "0.1.0"
__all__ = ["Model", "load", "upscale"]


def __getattr__(name: str) -> Any:
    """Nothing is imported before it is asked for: the commands set jax's environment first."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("srgan_jax.library"), name)
