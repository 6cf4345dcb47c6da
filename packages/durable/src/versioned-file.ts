import { constants } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, errorCode } from './disk.ts';
import { explain, type Schema } from './schema.ts';

/** What a durable value can be found to be. `mtimeMs` of an unreadable file is when it was last written. */
export type MarkerRead<T> =
  | { kind: 'absent' }
  | { kind: 'present'; value: T }
  | { kind: 'newer'; version: number }
  | { kind: 'unreadable'; reason: string; mtimeMs: number };

/** A read of one file, with the number that tells which of two copies was written later. */
export type CopyRead<T> =
  | { kind: 'absent' }
  | { kind: 'present'; value: T; sequence: number }
  | { kind: 'newer'; version: number; sequence: number }
  | { kind: 'unreadable'; reason: string; mtimeMs: number };

/** The form of a value on disk: which version of its schema it was written by, and the value. */
export interface Format<T> {
  version: number;
  schema: Schema<T>;
}

const largestBytes = 16 * 1024 * 1024;

/** The text of a file, checked by the schema that will read it. A value that does not fit is a bug of ours. */
export function toText<T>(format: Format<T>, value: T, sequence: number): string {
  const parsed = format.schema.safeParse(JSON.parse(JSON.stringify(value)));
  if (!parsed.success) {
    throw new Failure('bug', {
      message: `a state that does not fit its own schema was not written: ${explain(parsed.error)}`,
      hint: 'This is a defect. Please report it with this message.',
    });
  }
  const text = `${JSON.stringify({ version: format.version, sequence, value })}\n`;
  const bytes = Buffer.byteLength(text);
  if (bytes <= largestBytes) return text;
  throw new Failure('state_unwritable', {
    message: `a state of ${Math.ceil(bytes / 2 ** 20)} MiB would be too large to be read again (${largestBytes / 2 ** 20} MiB at most), and was not written`,
    hint: 'Mount large files (configs, secrets, env files of the stack) by "volumes" instead: their contents are kept in the state.',
  });
}

/**
 * Reads one file. Only a missing file is `absent`; whatever cannot be understood is `unreadable`,
 * because an unreadable debt is a debt. A file that we may not read is a Failure: it says nothing
 * about debts, only about who runs this.
 */
export async function readCopy<T>(path: string, format: Format<T>, disk: Disk): Promise<CopyRead<T>> {
  try {
    const file = await disk.open(path, constants.O_RDONLY);
    try {
      const seen = await file.stat();
      if (!seen.isFile) return await unreadable(path, 'it is not a regular file');
      if (seen.sizeBytes > largestBytes) return await unreadable(path, `it has ${seen.sizeBytes} bytes`);
      return fromText((await file.readAll()).toString('utf8'), format, seen.mtimeMs);
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return { kind: 'absent' };
    if (code === 'EACCES' || code === 'EPERM') throw notOurs(path, error);
    return await unreadable(path, error instanceof Error ? error.message : String(error), error);
  }
}

function fromText<T>(text: string, format: Format<T>, mtimeMs: number): CopyRead<T> {
  const outer = parseEnvelope(text);
  if (outer === null) return { kind: 'unreadable', reason: 'it is truncated or not ours', mtimeMs };
  const { version, sequence, value } = outer;
  if (version > format.version) return { kind: 'newer', version, sequence };
  const parsed = format.schema.safeParse(value);
  if (!parsed.success) return { kind: 'unreadable', reason: explain(parsed.error), mtimeMs };
  return { kind: 'present', value: parsed.data, sequence };
}

/** What stands around every value: `{ version, sequence, value }`; null for anything else. */
function parseEnvelope(text: string): { version: number; sequence: number; value: unknown } | null {
  let outer: unknown;
  try {
    outer = JSON.parse(text);
  } catch {
    return null; // One reason for every kind of damage.
  }
  if (typeof outer !== 'object' || outer === null || !('version' in outer)) return null;
  const { version, sequence, value }: { version: unknown; sequence?: unknown; value?: unknown } = outer;
  if (!isCount(version) || version === 0) return null;
  return { version, sequence: isCount(sequence) ? sequence : 0, value };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

async function unreadable(path: string, reason: string, cause?: unknown): Promise<CopyRead<never>> {
  try {
    return { kind: 'unreadable', reason, mtimeMs: (await lstat(path)).mtimeMs };
  } catch {
    throw new Failure('state_unreadable', {
      message: `${path} cannot be read: ${reason}. Nothing was changed.`,
      hint: 'Check the disk (dmesg, df, mount), then run the same command again.',
      cause,
    });
  }
}

function notOurs(path: string, cause: unknown): Failure {
  return new Failure('state_unreadable', {
    message: `${path} may not be read by this user. Nothing was changed.`,
    hint: 'Run the same command as root (sudo).',
    cause,
  });
}
