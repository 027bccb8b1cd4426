"""The syntax tree of an expression. Nodes are immutable and know their depth, which has a bound."""

from dataclasses import dataclass, field

MAX_DEPTH = 150

Literal = None | bool | int | float | str | bytes


@dataclass(slots=True, frozen=True)
class Const:
    """A literal."""

    value: Literal
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Name:
    """A variable: one that the caller gives, or one that a macro binds."""

    name: str
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Select:
    """``of.member``; with ``test``, whether it is there (``has``)."""

    of: "Node"
    member: str
    test: bool = False
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Index:
    """``of[at]``."""

    of: "Node"
    at: "Node"
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Unary:
    """``!x`` or ``-x``."""

    operator: str
    operand: "Node"
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Binary:
    """Two operands and the operator between them, ``&&`` and ``||`` included."""

    operator: str
    left: "Node"
    right: "Node"
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Conditional:
    """``test ? then : other``."""

    test: "Node"
    then: "Node"
    other: "Node"
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class ListOf:
    """``[a, b]``."""

    items: tuple["Node", ...]
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class MapOf:
    """``{k: v}``."""

    entries: tuple[tuple["Node", "Node"], ...]
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Call:
    """A function; of a method, the receiver is the first argument."""

    function: str
    arguments: tuple["Node", ...]
    depth: int = field(default=1, compare=False)


@dataclass(slots=True, frozen=True)
class Macro:
    """``over.macro(variable, body…)``: exists, all, exists_one, filter, map."""

    macro: str
    over: "Node"
    variable: str
    bodies: tuple["Node", ...]
    depth: int = field(default=1, compare=False)


Node = Const | Name | Select | Index | Unary | Binary | Conditional | ListOf | MapOf | Call | Macro
