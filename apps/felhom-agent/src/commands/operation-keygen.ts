import { open } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { formatKeyLine, generateSigningKey } from '@felhom/signed-document/keys.ts';
import type { CommandContext } from './context.ts';

/** `operation keygen`: a new key pair. The private key goes into a new file and nowhere else. */
export async function operationKeygen(
  context: CommandContext,
  { out, name }: { out: string; name: string },
): Promise<void> {
  const { keyId, publicKey, pem } = generateSigningKey();
  await writeNew(out, pem);
  const line = formatKeyLine(publicKey, name);
  context.reporter.result(
    { schema: 'felhom.signing-key/1', key_id: keyId, public_key: line, file: out } as const,
    () => `${line}\n`,
  );
  context.reporter.say(
    `The private key lies in ${out}: keep it away from the host, and let nobody else read it.\nOn the host, agent.yaml, signers takes the line above.`,
  );
}

/** Writes a file that must not exist yet, 0600 from its first moment, and syncs it. */
export async function writeNew(path: string, text: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new Failure('usage', {
      message: exists
        ? `${path} exists already; it was left as it is`
        : `${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: exists ? 'Name a file that does not exist.' : 'Name a file in a folder that you may write to.',
      cause,
    });
  }
}
