"""Configs with fields changed, and what is said of those that cannot work."""

import pytest

from configs import base
from srgan_jax.errors import UserError


def changed(**fields):
    """base with fields changed, their dots written as two underscores: data__crop=64."""
    c = base.get_config()
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


def refusal(call, *arguments):
    """The message of the UserError, which is one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message
    return message
