"""The one error of expressions."""


class ExpressionError(ValueError):
    """An expression that can not be read or evaluated. The message says what is wrong, and where in a text."""
