#!/usr/bin/env python3
"""page.py [--installed] PAGE: prints the shell script that runs a page of docs/guide as its reader would.

A block ```console holds commands after `$ ` (continued after `> `) and lines of their output. An HTML comment right before a
block says more:

    <!-- not run: REASON -->   the block does not run here; with --installed it runs if the reason names packaging/test-deb
    <!-- ends with N -->       the last command ends with N, or with `any`
    <!-- file NAME -->         the block is this file
    <!-- the reader has: CMD -->   what the reader has already; the command makes it before the block

Each line of output in the page must appear in what the command printed, in this order. Numbers and the width of blanks do not
count, `…` stands for anything.
"""

import re
import shlex
import sys


def blocks(text):
    """The line number, kind, note and lines of each block."""
    note, block = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None:
            if line.startswith("```"):
                yield block
                block, note = None, ""
            else:
                block[3].append(line)
        elif line.startswith("```"):
            block = (number, line[3:].strip(), note, [])
        elif line.strip():
            comment = re.fullmatch(r"<!-- (.*) -->", line.strip())
            note = comment.group(1) if comment else ""
    if block is not None:
        sys.exit(f"a block begins in line {block[0]} and does not end")


def commands(number, lines):
    """The line number, text and output of each command of a block."""
    found = []
    for number, line in enumerate(lines, number + 1):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif not found:
            sys.exit(f"line {number} is output of no command")
        elif line.startswith("> ") and not found[-1][2]:
            found[-1][1].append(line[2:])
        else:
            found[-1][2].append(line)
    return found


def heredoc(text):
    return f"<<'END OF TEXT'\n{text}\nEND OF TEXT\n"


def script(path, installed):
    name = path.rsplit("/", 1)[-1]
    with open(path, encoding="utf-8") as page:
        text = page.read()
    for number, kind, note, lines in blocks(text):
        if note.startswith("the reader has: "):
            yield note.removeprefix("the reader has: ")
        if note.startswith("file "):
            yield f"cat > {shlex.quote(note[5:])} {heredoc(chr(10).join(lines))}"
        elif kind == "console":
            if note.startswith("not run: ") and not (installed and "packaging/test-deb" in note):
                continue
            all_ = commands(number, lines)
            for at, words, output in all_:
                ends = note.startswith("ends with ") and at == all_[-1][0]
                want = note.removeprefix("ends with ") if ends else "0"
                output = [line for line in output if line.strip() not in ("", "…")]
                yield (
                    f"at={name}:{at}; want={want}\n"
                    f"cat > $WORK/command {heredoc(chr(10).join(words))}"
                    f"cat > $WORK/expected {heredoc(chr(10).join(output))}"
                    ". $WORK/command > $WORK/out 2>&1 < /dev/null; code=$?\njudge\n"
                )


PROLOGUE = r"""# Made by page.py. WORK is a folder for its files.
plain() { sed -E 's/[0-9]+/0/g; s/[[:blank:]]+/ /g; s/^ //; s/ $//' "$1"; }
judge() {
  sed 's/^/$ /' $WORK/command; cat $WORK/out
  test $want = any || test $code = $want || { echo "FAILED: $at ended with $code, not $want" >&2; exit 1; }
  plain $WORK/out > $WORK/plain; plain $WORK/expected > $WORK/wanted
  awk -v at=$at '
    NR == FNR { if ($0 != "") wanted[++n] = $0; next }
    i < n { want = wanted[i + 1]; rest = sub(/ ?…$/, "", want)
      if ($0 == want || (rest && index($0, want) == 1)) i++ }
    END { if (i < n) { print "FAILED: " at " did not print: " wanted[i + 1]; exit 1 } }' $WORK/wanted $WORK/plain >&2 || exit 1
}
"""

if __name__ == "__main__":
    words = sys.argv[1:]
    installed = "--installed" in words
    [path] = [word for word in words if word != "--installed"]
    print(PROLOGUE + "\n".join(script(path, installed)) + "\nexit 0")
