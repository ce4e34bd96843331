"""The rules of music as a reward, with their environment, statistics and pictures.

In gymnax's protocol (with the extra `[gymnax]`): `MelodyEnv`, `PriorReward`, `register`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutor.music.gymnax_env import MelodyEnv, PriorReward, register

__all__ = ["MelodyEnv", "PriorReward", "register"]


def __getattr__(name: str) -> Any:
    """Import what needs gymnax when it is asked for: all else does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tutor.music import gymnax_env

    return getattr(gymnax_env, name)


def __dir__() -> list[str]:
    """Name what can be imported, for completion."""
    return sorted({*globals(), *__all__})
