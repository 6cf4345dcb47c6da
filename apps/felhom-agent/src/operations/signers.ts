import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { parseKeyLine, type SignerKey } from '@felhom/signed-document/keys.ts';

const largestKeyFile = 4096;

/**
 * The keys that may sign: a list of lines as `operation keygen` prints them, or a folder of files `*.pub` that hold
 * such lines (`#` begins a comment). None: nobody may. A key that is revoked anywhere is revoked.
 * @throws Failure `config_invalid` for a line that is no key, a folder that cannot be read or that others may write
 */
export async function readSigners(signers: string | readonly string[]): Promise<SignerKey[]> {
  const lines =
    typeof signers === 'string' ? await linesOfFolder(signers) : signers.map((text) => ({ text, from: 'signers' }));
  const keys = lines.map(({ text, from }) => {
    const key = parseKeyLine(text);
    if (key === null) throw invalid(`${from}: ${JSON.stringify(text.slice(0, 40))} is no key line`);
    return key;
  });
  const revoked = new Set(keys.filter((key) => key.revoked).map(({ keyId }) => keyId));
  const known = new Map(keys.map((key) => [key.keyId, { ...key, revoked: revoked.has(key.keyId) }]));
  return [...known.values()];
}

interface Line {
  text: string;
  from: string;
}

async function linesOfFolder(folder: string): Promise<Line[]> {
  try {
    await refuseWritable(folder);
    const names = (await readdir(folder)).filter((name) => /^[^.].*\.pub$/.test(name)).toSorted();
    return (await Promise.all(names.map(async (name) => await linesOfFile(join(folder, name))))).flat();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw invalid(
      `the folder of signers cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}

async function linesOfFile(path: string): Promise<Line[]> {
  await refuseWritable(path);
  const text = await readFile(path, 'utf8');
  if (text.length > largestKeyFile) throw invalid(`${path} is longer than ${largestKeyFile} bytes`);
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => ({ text: line, from: path }));
}

/** Whoever may write there decides what is destroyed. */
async function refuseWritable(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o022) !== 0) throw invalid(`${path} can be written by others (mode ${(mode & 0o777).toString(8)})`);
}

function invalid(what: string, cause?: unknown): Failure {
  return new Failure('config_invalid', {
    message: `${what}; no operation is taken, guests keep running`,
    hint: 'felhom-agent operation keygen prints a line as it must stand there: ed25519:… NAME. Others must not be able to write it (chmod go-w).',
    cause,
  });
}
