"""Searching a text for a pattern in linear time, all possibilities side by side (Thompson's construction).

The standard library's engine backtracks: an event's text could keep it busy for ever.
"""

from functools import lru_cache
from typing import Final

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.pattern_parser import Chars, Choice, Edge, Piece, Repeat, Sequence, parse_pattern

MAX_PROGRAM: Final = 2_000
MAX_WORK: Final = 1_000_000
"""Characters times places in the pattern that one search may look at."""

Jump = tuple[int, ...]
Instruction = Chars | Edge | Jump | None
"""A character to eat, an edge to be at, places to go on from; None is the end: found."""


def search(pattern: str, text: str) -> bool:
    """Whether ``pattern`` (RE2 syntax) is found anywhere in ``text``. Raises ExpressionError."""
    program = compile_pattern(pattern)
    places: set[int] = set()
    work = 0
    for at in range(len(text) + 1):
        places.add(0)
        reached = _follow(program, places, text, at)
        if len(program) - 1 in reached:
            return True
        work += len(reached)
        if work > MAX_WORK:
            raise ExpressionError(f"the pattern {pattern[:80]!r} takes too long for a text of {len(text)} characters")
        if at < len(text):
            places = _eat(program, reached, text[at])
    return False


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> tuple[Instruction, ...]:
    """The pattern's instructions. Raises ExpressionError."""
    program: list[Instruction] = []
    _emit(parse_pattern(pattern), program)
    program.append(None)
    return tuple(program)


def _eat(program: tuple[Instruction, ...], places: set[int], char: str) -> set[int]:
    found: set[int] = set()
    for place in places:
        instruction = program[place]
        if isinstance(instruction, Chars) and instruction.has(char):
            found.add(place + 1)
    return found


def _follow(program: tuple[Instruction, ...], places: set[int], text: str, at: int) -> set[int]:
    """Every place that is reached without eating a character."""
    seen = set(places)
    pending = list(places)
    while pending:
        place = pending.pop()
        instruction = program[place]
        onward: tuple[int, ...] = ()
        if isinstance(instruction, tuple):
            onward = instruction
        elif isinstance(instruction, Edge) and _is_at(instruction.kind, text, at):
            onward = (place + 1,)
        for other in onward:
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return seen


def _is_at(kind: str, text: str, at: int) -> bool:
    if kind == "start":
        return at == 0
    if kind == "end":
        return at == len(text)
    if kind == "line start":
        return at == 0 or text[at - 1] == "\n"
    if kind == "line end":
        return at == len(text) or text[at] == "\n"
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return (before is not after) is (kind == "word")


def _is_word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


def _emit(piece: Piece, program: list[Instruction]) -> None:
    if len(program) > MAX_PROGRAM:
        raise ExpressionError("the pattern is too large")
    match piece:
        case Chars() | Edge():
            program.append(piece)
        case Sequence():
            for part in piece.parts:
                _emit(part, program)
        case Choice():
            _emit_choice(piece, program)
        case Repeat():
            _emit_repeat(piece, program)


def _emit_choice(piece: Choice, program: list[Instruction]) -> None:
    ends: list[int] = []
    for option in piece.options[:-1]:
        fork = _reserve(program)
        _emit(option, program)
        ends.append(_reserve(program))
        program[fork] = (fork + 1, len(program))
    _emit(piece.options[-1], program)
    for end in ends:
        program[end] = (len(program),)


def _emit_repeat(piece: Repeat, program: list[Instruction]) -> None:
    for _ in range(piece.least):
        _emit(piece.piece, program)
    if piece.most is None:
        fork = _reserve(program)
        _emit(piece.piece, program)
        program.append((fork,))
        program[fork] = (fork + 1, len(program))
        return
    forks: list[int] = []
    for _ in range(piece.most - piece.least):
        forks.append(_reserve(program))
        _emit(piece.piece, program)
    for fork in forks:
        program[fork] = (fork + 1, len(program))


def _reserve(program: list[Instruction]) -> int:
    """A place that is filled in later."""
    program.append(())
    return len(program) - 1
