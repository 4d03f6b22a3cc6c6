"""The one exception for mistakes that the user can mend."""


class UserError(ValueError):
    """Bad input or configuration.

    The message is one line: what was expected, what came, how to mend it. Command-line programs
    print it and exit with status 2; library users catch it as the `ValueError` it is.
    """
