import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, errorCode, systemDisk } from './disk.ts';
import type { Schema } from './schema.ts';
import { stateFile } from './state-file.ts';
import type { MarkerRead } from './versioned-file.ts';

/**
 * One file a run, the newest kept. Ids begin with the time, so their order is that of the runs, whenever an entry was
 * written again. An entry that cannot be read is listed as such and hides no other.
 */
export interface HistoryStore<T> {
  /** Writes or rewrites the entry, then drops the oldest beyond `keep`. Throws Failure `state_unwritable`. */
  save(id: string, value: T): Promise<void>;
  /** Newest first. `limit` bounds how many files are read. */
  list(limit?: number): Promise<HistoryEntry<T>[]>;
  /** By its whole id, or by a prefix that only one id has. Throws Failure `not_found` or `usage` (several). */
  find(idOrPrefix: string): Promise<HistoryEntry<T>>;
}

export interface HistoryEntry<T> {
  id: string;
  read: MarkerRead<T>;
}

export interface HistoryOptions<T> {
  folder: string;
  /** How many entries stay. */
  keep: number;
  version?: number;
  schema: Schema<T>;
  disk?: Disk;
}

const idForm = /^[A-Za-z0-9_-]{1,64}$/;

export function historyStore<T>(options: HistoryOptions<T>): HistoryStore<T> {
  const { folder, keep, schema, version = 1, disk = systemDisk } = options;
  const fileOf = (id: string): string => join(folder, `${id}.json`);
  const entry = async (id: string): Promise<HistoryEntry<T>> => {
    return { id, read: await stateFile({ path: fileOf(id), version, schema, disk }).read() };
  };

  const prune = async (saved: string): Promise<void> => {
    const others = (await newestFirst(folder)).filter((id) => id !== saved);
    for (const id of others.slice(Math.max(0, keep - 1))) await disk.remove(fileOf(id));
  };

  return {
    save: async (id, value) => {
      if (!idForm.test(id)) throw badId(id);
      await stateFile({ path: fileOf(id), version, schema, disk }).write(value);
      // The entry is saved; an old one that could not be dropped is dropped with the next.
      await prune(id).catch(() => undefined);
    },
    list: async (limit = keep) => {
      const entries = await Promise.all((await newestFirst(folder)).slice(0, limit).map(entry));
      return entries.filter(({ read }) => read.kind !== 'absent'); // Dropped while we looked.
    },
    find: async (wanted) => {
      const all = await newestFirst(folder);
      const matching = all.includes(wanted) ? [wanted] : all.filter((id) => id.startsWith(wanted));
      const [only, another] = matching;
      if (only === undefined || wanted === '') throw notFound(wanted);
      if (another !== undefined) throw several(wanted, matching);
      return entry(only);
    },
  };
}

/** Ids of what is kept. */
async function newestFirst(folder: string): Promise<string[]> {
  const found = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw unreadableFolder(folder, error);
  });
  return found
    .filter((each) => each.isFile() && each.name.endsWith('.json'))
    .map(({ name }) => name.slice(0, -'.json'.length))
    .filter((id) => idForm.test(id))
    .toSorted()
    .toReversed();
}

function unreadableFolder(folder: string, cause: unknown): Failure {
  return new Failure('state_unreadable', {
    message: `${folder} cannot be listed: ${cause instanceof Error ? cause.message : String(cause)}. Nothing was changed.`,
    hint: 'Run the same command as root (sudo); if you are root, look at the folder (ls -ld).',
    cause,
  });
}

function badId(id: string): Failure {
  return new Failure('bug', {
    message: `"${id.slice(0, 80)}" is no id that a file can be named by`,
    hint: 'This is a defect. Please report it with this message.',
  });
}

function notFound(wanted: string): Failure {
  return new Failure('not_found', {
    message: `there is no entry "${wanted}" in the history.`,
    hint: 'List what is there with the history command; older entries are dropped.',
  });
}

function several(wanted: string, matching: readonly string[]): Failure {
  return new Failure('usage', {
    message: `"${wanted}" is the beginning of ${matching.length} entries: ${matching.slice(0, 5).join(', ')}.`,
    hint: 'Type more of the id.',
  });
}
