import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';

/**
 * The private key that `operation keygen` wrote. Not by the agent's own reader of secrets: that takes one line, and this is a file of several.
 * @throws Failure `usage` when it cannot be read, or others may read it
 */
export async function readKeyFile(path: string): Promise<string> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new Failure('usage', {
        message: `others may read ${path} (mode ${(mode & 0o777).toString(8)}); nothing was signed`,
        hint: `Run: chmod 600 ${path}. Whoever may have read it can sign: make a new key if in doubt.`,
      });
    }
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure('usage', {
      message: `the key cannot be read: ${cause instanceof Error ? cause.message : String(cause)}; nothing was signed`,
      hint: 'Name the file that "operation keygen --out FILE" wrote.',
      cause,
    });
  }
}
