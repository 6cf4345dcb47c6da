import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { z } from 'zod';

const recording = z.object({
  request: z.object({
    method: z.string(),
    path: z.string(),
    query: z.string().nullable(),
    encoding: z.string().nullable(),
    body: z.string(),
  }),
  response: z.object({
    status_line: z.string(),
    headers: z.array(z.tuple([z.string(), z.string()])),
    body_text: z.string(),
  }),
});
export type Recording = z.infer<typeof recording>;

const root = resolve(fileURLToPath(new URL('../../../../', import.meta.url)));
const folder = process.env['FELHOM_RECORDINGS'] ?? join(root, '..', 'shared', 'pve-recordings');

/** Null, with a line that says so, when the recordings are not on this machine. */
export function openRecordings(): Map<string, Recording> | null {
  if (!existsSync(folder)) {
    process.stderr.write(
      `pve-sim: no recordings in ${folder}: comparisons with a real node are left out (FELHOM_RECORDINGS names their folder)\n`,
    );
    return null;
  }
  const all = new Map<string, Recording>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
    const parsed = recording.safeParse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
    if (parsed.success) all.set(file.replace(/\.json$/, ''), parsed.data);
  }
  return all;
}

/** Stands in for `describe` where there are no recordings: one test that says that this is so. */
export function leaveOut(title: string): void {
  it(`${title}: there are no recordings here`, () => {
    expect(existsSync(folder)).toBe(false);
  });
}

/** The lines of a recorded task log. */
export function recordedLog(recordings: Map<string, Recording>, name: string): string[] {
  const body = JSON.parse(recordings.get(name)?.response.body_text ?? '{"data":[]}') as { data: { t: string }[] };
  return body.data.map(({ t }) => t);
}

/**
 * A vzdump log without what differs from run to run: times, sizes, paths, pids, the order of the
 * options in the first line, the archiver's command line, and the container lock's two lines that
 * only some runs have.
 */
export function normaliseLog(lines: readonly string[]): string[] {
  return lines
    .filter((line) => line !== 'trying to acquire lock...' && line !== ' OK')
    .map((line) => normaliseLine(line));
}

function normaliseLine(line: string): string {
  if (line.startsWith('INFO: starting new backup job: ')) return sortOptions(line);
  return line
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, 'TIME')
    .replace(/\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d/g, 'STAMP')
    .replace(/command 'set -o pipefail.*' failed/, "command 'PIPELINE' failed")
    .replace(/written: \d+ \(.*\)/, 'written: N')
    .replace(/read: \d+ \(.*\)/, 'read: N')
    .replace(/file size: \S+$/, 'file size: N')
    .replace(/transferred \S+ bytes in \d+s/, 'transferred N bytes in Ns')
    .replace(/\(\d\d:\d\d:\d\d\)/, '(DURATION)')
    .replace(/after (?:<1|\d+) seconds/, 'after N seconds')
    .replace(/\/proc\/\d+\/root/, '/proc/PID/root')
    .replace(/(\/\S*)?\/dump\//g, 'DUMP/');
}

function sortOptions(line: string): string {
  const [head = '', ...options] = line.split(' --');
  return [head, ...options.toSorted()].join(' --');
}
