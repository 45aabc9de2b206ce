"""Keeps credentials that a URI carries out of files, logs, messages and the UI. Standard library only."""

import re

_CREDENTIALS = re.compile(
    r"(?<=://)[^/\s]+(?=@)"  # user and password; a password may hold an @ itself
    r"|(?<=[?&;])([\w-]*(?:password|token|secret|signature|\bsig)=)[^&;\s]+",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """The text with user and password of every URI in it left out, and tokens among its parameters.

    >>> without_credentials("read from sftp://shop:secret@host/in")
    'read from sftp://…@host/in'
    >>> without_credentials("session at sc://host:443/;use_ssl=true;token=abc")
    'session at sc://host:443/;use_ssl=true;token=…'
    """
    return _CREDENTIALS.sub(lambda found: f"{found[1] or ''}…", text)


class ErrorWithoutCredentials(Exception):
    """An error whose message may quote URIs: credentials in them are left out."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))
