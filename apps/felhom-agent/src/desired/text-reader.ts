import { type Stats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { readConfigText } from '@felhom/cli/config-file.ts';

/** A file's text as `readConfigText` gives it, errors included. */
export type ReadText = (file: string, limitBytes: number) => Promise<string | undefined>;

/**
 * A file that was written less than this before it was read may be written again without its times
 * telling: the cluster's filesystem counts in whole seconds.
 */
const settledMs = 5_000;

interface Known {
  stamp: string;
  text: string;
}

/**
 * Reads again only what may have changed since the pass before, by inode, size and times. A change is
 * never missed: whatever was young when it was read is read once more. What it answers is called once for each pass.
 * `onOwnDisk`: the times are looked at without another thread, which costs ten times as much as the look.
 */
export function rememberingReader(
  nowMs: () => number = Date.now,
  read: ReadText = readConfigText,
): (onOwnDisk: boolean) => ReadText {
  let known = new Map<string, Known>();
  return (onOwnDisk) => {
    const look = onOwnDisk ? (file: string): Stats => statSync(file) : stat;
    const before = known;
    const now: typeof known = new Map();
    known = now;
    return async (file, limitBytes) => {
      // The times are looked at before the text is read: a write in between is seen by the next pass.
      const stamp = await stampOf(file, look, nowMs);
      const same = before.get(file);
      if (stamp !== null && same?.stamp === stamp) {
        now.set(file, same);
        return same.text;
      }
      const text = await read(file, limitBytes);
      if (stamp !== null && text !== undefined) now.set(file, { stamp, text });
      return text;
    };
  };
}

/** What tells this content of the file from any later one; null where nothing does yet. Times in milliseconds have a fraction: a quarter of a microsecond. */
async function stampOf(
  file: string,
  look: (file: string) => Stats | Promise<Stats>,
  nowMs: () => number,
): Promise<string | null> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await look(file);
    return nowMs() - Math.max(mtimeMs, ctimeMs) < settledMs ? null : `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch {
    // Whoever reads it tells what is wrong.
    return null;
  }
}
