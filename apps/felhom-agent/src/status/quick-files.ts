/**
 * Reading for `status`, which must answer within twice the start of a bare node: an import of node:fs
 * or node:fs/promises costs more than what it reads.
 */
const { readdirSync, readFileSync, statSync } = process.getBuiltinModule('node:fs');

/** The names in a folder; none where there is no such folder. @throws what keeps us from looking (EACCES, …). */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** A file's text; undefined where there is no such file. @throws what keeps us from reading. */
export function textOf(path: string): string | undefined {
  return bytesOf(path)?.toString('utf8');
}

/** The same, as bytes. */
export function bytesOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The text of a plain file of at most `limitBytes`; undefined for anything else: a folder, a device, a link to nothing, a bomb. */
export function shortTextOf(path: string, limitBytes: number): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && found.size <= limitBytes ? textOf(path) : undefined;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
