import type { Member } from './ports.ts';

/**
 * One line of `tar --list --verbose --numeric-owner --quoting-style=c` (GNU tar): kind and mode, owner, size, date, time
 * and the name as a C string, then ` -> "…"` or ` link to "…"`. Quoted so, no name can be taken for anything else.
 * Null: no line of that form.
 */
export function parseMember(line: string): Member | null {
  const match =
    /^([-dlhpcbCsVMNDSL])\S{9,} \S+ +\S+ \S+ \S+ "((?:[^"\\]|\\.)*)"(?: (?:->|link to) "((?:[^"\\]|\\.)*)")?$/.exec(
      line,
    );
  const kind = kinds[match?.[1] ?? ''];
  if (match?.[2] === undefined) return null;
  return { kind: kind ?? 'other', path: match[2], target: match[3] ?? null };
}

/** Letters as GNU tar writes them (list.c). */
const kinds: Readonly<Record<string, Member['kind']>> = {
  '-': 'file',
  C: 'file',
  d: 'folder',
  D: 'folder',
  l: 'link',
  h: 'hardlink',
  p: 'fifo',
  c: 'device',
  b: 'device',
  s: 'socket',
};

/** Splits a stream into lines, whatever way it comes in. */
export function lineSplitter(onLine: (line: string) => void): { take: (chunk: Uint8Array) => void; end: () => void } {
  const decoder = new TextDecoder();
  let rest = '';
  return {
    take: (chunk) => {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    },
    end: () => {
      if (rest !== '') onLine(rest);
    },
  };
}
