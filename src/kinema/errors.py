"""The one exception that a user's input can raise: a sentence that says what came, what was expected, what to do."""


class UserError(ValueError):
    """Input that kinema cannot take. The command line prints the message alone and exits with code 2."""
