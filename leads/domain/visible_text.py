"""Characters that change how a text looks, or where it goes in a terminal, without being seen themselves."""

import re

# Controls (C0, DEL, C1); soft hyphen, marks, embeddings, overrides, isolates of the writing direction; what
# has no width, the two joiners too, which Vietnamese names do not need; separators of lines and paragraphs;
# annotations; tags. No letter is among them: all are of Unicode's categories Cc, Cf, Zl and Zp.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_UNSEEN_CHARACTER = re.compile(f"[{_UNSEEN}]")
_SPACING = re.compile("[\t-\r\x85\u2028\u2029]+")


def without_unseen(text: str) -> str:
    """Return a text of one line without such characters; a tab or a line break becomes a space."""
    if text.isprintable():
        return text
    return _UNSEEN_CHARACTER.sub("", _SPACING.sub(" ", text))


def escape_unseen(text: str) -> str:
    r"""Return the text with such characters as `\u202e`; tabs and line feeds stay."""
    if text.isprintable():
        return text
    return _UNSEEN_CHARACTER.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    """Write a character as JSON does, so that an escaped JSON document stays the same document."""
    code = ord(match[0])
    if match[0] in "\t\n":
        return match[0]
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
