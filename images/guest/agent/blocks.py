"""Lines of kvmc's in files that are their users'. They stand between two marks, and only what is between is changed."""
BEGIN, END = "# kvmc begin\n", "# kvmc end\n"


def bounds(text):
    """Where the lines of the block begin and end; None where there is no whole block."""
    start = 0 if text.startswith(BEGIN) else text.find("\n" + BEGIN) + 1
    if not text.startswith(BEGIN, start):
        return None
    start += len(BEGIN)
    end = start if text.startswith(END, start) else text.find("\n" + END, start) + 1
    return (start, end) if end >= start else None


def lines_of(text):
    """The lines of the block, or None."""
    found = bounds(text)
    return text[found[0]:found[1]] if found else None


def with_lines(text, lines):
    """The text with these lines in its block, which is added at the end where there is none."""
    found = bounds(text)
    if found:
        return text[:found[0]] + lines + text[found[1]:]
    if text and not text.endswith("\n"):
        text += "\n"
    return text + BEGIN + lines + END
