"""The type variables of the user's side, whose defaults let untyped code stay untyped."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    D = TypeVar("D", default=dict[str, Any])
    D_co = TypeVar("D_co", covariant=True, default=dict[str, Any])
    T_co = TypeVar("T_co", covariant=True, default=Any)
else:  # defaults of type variables are new in Python 3.13
    from typing import TypeVar

    D = TypeVar("D")
    D_co = TypeVar("D_co", covariant=True)
    T_co = TypeVar("T_co", covariant=True)

__all__ = ["D", "D_co", "T_co"]
