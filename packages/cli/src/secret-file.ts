import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { registerSecret } from '@felhom/kernel/redact.ts';

const maxBytes = 16 * 1024;

/**
 * Reads a secret from a file, registers it for redaction and returns it without surrounding blanks.
 * @param what names it in errors: `the agent's token`.
 * @throws Failure `config_missing` when the file is absent, `config_invalid` when others may read it,
 *   when it belongs to somebody else, or when it is empty or too long.
 */
export async function readSecretFile(path: string, what: string): Promise<string> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new Failure('config_missing', {
      message: `${what} cannot be read: ${path}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)}`,
      hint: `Write it to ${path} and run: chmod 600 ${path}`,
      cause,
    });
  });
  if (!found.isFile() || found.size > maxBytes) {
    throw new Failure('config_invalid', {
      message: `${what}: ${path} is not a small file`,
      hint: `Write nothing but the secret to ${path}.`,
    });
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
    throw new Failure('config_invalid', {
      message: `${what}: others may read ${path} (mode ${mode})`,
      hint: `Run: chmod 600 ${path}`,
    });
  }
  if (found.uid !== 0 && found.uid !== process.getuid?.()) {
    throw new Failure('config_invalid', {
      message: `${what}: ${path} belongs to user ${found.uid}, who could change it`,
      hint: `Run: chown root ${path}`,
    });
  }
  const secret = (await readFile(path, 'utf8')).trim();
  registerSecret(secret);
  if (secret === '' || /[\s\p{Cc}]/u.test(secret)) {
    throw new Failure('config_invalid', {
      message: `${what}: ${path} does not hold one line of text`,
      hint: `Write nothing but the secret to ${path}.`,
    });
  }
  return secret;
}
