"""The exception for bad input, whose message says what to do about it."""


class InputError(ValueError):
    """Input that openmm_nemo cannot use.

    The message is one sentence that names the file, the residue or the option and says what to do.
    The command line prints it and exits with code 2; in Python it is an ordinary ``ValueError``.
    """
