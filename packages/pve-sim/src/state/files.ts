import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ZodType } from 'zod';
import { isAlive, markOf } from './processes.ts';

// Invariants of the state folder:
// - The simulator and every worker share it; each file is replaced whole, so that a kill -9 leaves the old or the new one.
// - Read-modify-write happens only under `withFileLock`, which a dead holder never blocks.
// - Nothing is kept only in memory that a restart must know.

/** Replaces `path` whole. Mode 0600: the folder holds the node's key and token. */
export function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}

export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

export function readJson<T>(path: string, schema: ZodType<T>): T | null {
  const text = readText(path);
  return text === null ? null : schema.parse(JSON.parse(text));
}

/**
 * Reads a file that is asked for again and again, and parses it again only when it was replaced: `writeWhole` gives it
 * another inode each time. The answer is shared: nobody may change it.
 */
export function cachedJson<T>(schema: ZodType<T>): (path: string) => T | null {
  const known = new Map<string, { mark: string; value: T | null }>();
  return (path) => {
    const seen = statSync(path, { throwIfNoEntry: false });
    if (seen === undefined) return null;
    const mark = `${seen.ino} ${seen.size} ${seen.mtimeMs} ${seen.ctimeMs}`;
    const last = known.get(path);
    if (last?.mark === mark) return last.value;
    const value = readJson(path, schema);
    known.set(path, { mark, value });
    return value;
  };
}

export function writeJson(path: string, value: unknown): void {
  writeWhole(path, `${JSON.stringify(value, null, 1)}\n`);
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/** Takes the lock file when it is free or its holder is dead. Never waits. */
export function tryFileLock(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true });
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(markOf(process.pid)), { mode: 0o600 });
  try {
    linkSync(mine, path);
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    return breakStaleLock(path, mine);
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Whose lock it is; null when it is free, or its holder died. */
export function lockHolder(path: string): number | null {
  const text = readText(path);
  if (text === null) return null;
  const mark = JSON.parse(text) as { pid: number; startTime: number } | null;
  return mark !== null && isAlive(mark) ? mark.pid : null;
}

export function releaseFileLock(path: string): void {
  if (lockHolder(path) === process.pid) rmSync(path, { force: true });
}

function breakStaleLock(path: string, mine: string): boolean {
  if (lockHolder(path) !== null) return false;
  // Two may see the same dead holder: only one wins the rename of its file away.
  const grave = `${path}.dead.${process.pid}`;
  try {
    renameSync(path, grave);
    rmSync(grave, { force: true });
    linkSync(mine, path);
    return true;
  } catch {
    return false; // somebody else was faster
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));
const lockLimitMs = 10_000;

/** Runs `body` alone among all processes. Throws when the lock stays taken for 10 s. */
export function withFileLock<T>(path: string, body: () => T): T {
  const giveUpAt = performance.now() + lockLimitMs;
  while (!tryFileLock(path)) {
    if (performance.now() > giveUpAt) throw new Error(`${path} stays locked by process ${lockHolder(path)}`);
    Atomics.wait(pause, 0, 0, 1);
  }
  try {
    return body();
  } finally {
    rmSync(path, { force: true });
  }
}
