import { Failure } from '@felhom/kernel/failure.ts';

/**
 * Reading for `status`, which must answer within twice the start of a bare node: an import of node:fs
 * or node:fs/promises costs more than what it reads.
 */
const { readdirSync, readFileSync } = process.getBuiltinModule('node:fs');

/** The names in a folder; none where there is no such folder. @throws Failure `state_unreadable`. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw unreadable(folder, error);
  }
}

/** A file's text; undefined where there is no such file. @throws Failure `state_unreadable`. */
export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw unreadable(path, error);
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function unreadable(path: string, cause: unknown): Failure {
  const denied = cause instanceof Error && 'code' in cause && (cause.code === 'EACCES' || cause.code === 'EPERM');
  return new Failure('state_unreadable', {
    message: `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: denied
      ? 'Run the same command as root (sudo).'
      : 'Check the disk (dmesg, df, mount), then run the same command again.',
    cause,
  });
}
