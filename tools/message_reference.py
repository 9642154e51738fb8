"""Write docs/messages.md from the comments in mtopt_msgs, so that the reference cannot say anything else than they do.

Run it after changing a message: `python tools/message_reference.py`. A test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'messages.md'

KINDS = {'msg': 'Messages', 'srv': 'Services', 'action': 'Actions'}
PARTS = {'msg': ('',), 'srv': ('Request', 'Response'), 'action': ('Goal', 'Result', 'Feedback')}
LINE = re.compile(r'(?P<type>\S+)\s+(?P<name>\w+)(?:\s*=\s*(?P<value>\S+))?\s*(?:#\s*(?P<meaning>.*))?')

HEAD = """# Messages, services and actions

Written by `tools/message_reference.py` from the comments in `src/mtopt_msgs`; change those.
What travels where, and in which order, is in [interfaces.md](interfaces.md).
"""


def reference() -> str:
    """Return the whole page.

    Raises:
        ValueError: A line is neither a field, nor a constant, nor a comment.
    """
    page = [HEAD]
    for kind, title in KINDS.items():
        page.append(f'## {title}\n')
        for path in sorted((ROOT / 'src' / 'mtopt_msgs' / kind).glob(f'*.{kind}')):
            page.append(f'### {path.stem}\n')
            page += _interface(path, PARTS[kind])
    return '\n'.join(page)


def _interface(path: Path, parts: tuple[str, ...]) -> list[str]:
    lines = path.read_text().splitlines()
    about = []
    while lines and lines[0].startswith('#'):
        about.append(lines.pop(0).lstrip('# '))
    result = [' '.join(about) + '\n']
    for part, text in zip(parts, '\n'.join(lines).split('\n---\n'), strict=True):
        fields, constants = _rows(path, text)
        if part:
            result.append(f'**{part}**\n' if fields else f'**{part}**: empty\n')
        if fields:
            result += ['| field | type | meaning |', '|---|---|---|', *fields, '']
        if constants:
            result += ['| constant | value | meaning |', '|---|---|---|', *constants, '']
    return result


def _rows(path: Path, text: str) -> tuple[list[str], list[str]]:
    fields: list[str] = []
    constants: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f'{path}: cannot read {line!r}')
        kind, name, value, meaning = match.group('type', 'name', 'value', 'meaning')
        rows = fields if value is None else constants
        rows.append(f'| `{name}` | {f"`{kind}`" if value is None else value} | {meaning or ""} |')
    return fields, constants


if __name__ == '__main__':
    PAGE.write_text(reference())
