import { durationMs, sizeBytes } from '@felhom/cli/quantity-schema.ts';
import { z } from 'zod';

/** `guests_document` of agent.yaml: what is declared comes from a server, signed, in place of a folder on this host. */
export const documentConfigSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^https$/, error: 'expected https://HOST/PATH' })
      .refine(isBare, 'expected https://HOST/PATH without a name, a password or a #part; token_file is for secrets'),
    fingerprint: z
      .string()
      .regex(/^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$/, 'expected a SHA-256 fingerprint such as AB:CD:…')
      .optional()
      .describe("of the server's certificate; neither this nor ca_file: the authorities of the system"),
    ca_file: z.string().optional().describe('the authority (PEM) that signed its certificate'),
    token_file: z.string().optional().describe('holds what is sent to it as a bearer token'),
    signers: z
      .union([z.string(), z.array(z.string()).min(1).max(64)], 'expected key lines, or a folder of *.pub files')
      .describe('who may declare: lines of `operation keygen`, or a folder of *.pub files'),
    every: durationMs('1m').describe('it is asked at most this often'),
    timeout: durationMs('10s').describe('for one answer, connecting included'),
    max_size: sizeBytes('4MiB').describe('of a document with its signatures'),
  })
  .refine(({ fingerprint, ca_file }) => fingerprint === undefined || ca_file === undefined, {
    error: 'name fingerprint or ca_file, not both',
  });
export type DocumentConfig = z.output<typeof documentConfigSchema>;

function isBare(text: string): boolean {
  const { username, password, hash } = URL.canParse(text) ? new URL(text) : { username: '', password: '', hash: '' };
  return username === '' && password === '' && hash === '';
}
