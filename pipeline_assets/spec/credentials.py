"""Keeps credentials that a URI carries out of files, logs, messages and the UI."""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def without_credentials(text: str) -> str:
    """The text with user and password of every URI in it left out.

    >>> without_credentials("read from sftp://shop:secret@host/in")
    'read from sftp://…@host/in'
    """
    return _CREDENTIALS.sub("…", text)
