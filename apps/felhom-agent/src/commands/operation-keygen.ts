import { formatKeyLine, generateSigningKey } from '@felhom/signed-document/keys.ts';
import type { CommandContext } from './context.ts';
import { writeNew } from './new-file.ts';

/** `operation keygen`: a new key pair. The private key goes into a new file and nowhere else. */
export async function operationKeygen(
  context: CommandContext,
  { out, name }: { out: string; name: string },
): Promise<void> {
  const { keyId, publicKey, pem } = generateSigningKey();
  await writeNew(out, pem, 'No key was made.');
  const line = formatKeyLine(publicKey, name);
  context.reporter.result(
    { schema: 'felhom.signing-key/1', key_id: keyId, public_key: line, file: out } as const,
    () => `${line}\n`,
  );
  context.reporter.say(
    `The private key lies in ${out}: keep it away from the host, and let nobody else read it.\nOn the host, agent.yaml, signers takes the line above.`,
  );
}
