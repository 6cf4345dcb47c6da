import { join } from 'node:path';
import { type StateFile, stateFile } from '@felhom/durable/state-file.ts';
import { z } from 'zod';

/**
 * What the agent keeps of its source of signed documents: the document in force as it came, signatures
 * and all, the newest serial that was ever accepted, and what is wrong since when. The serial outlives
 * the document: it stands here as long as this file does.
 */
const keptSchema = z.object({
  document: z
    .object({
      url: z.string(),
      /** The envelope, text. */
      envelope: z.string(),
      etag: z.string().nullable(),
      serial: z.number().int(),
      payload_sha256: z.string(),
      issued: z.string(),
      expires: z.string(),
      accepted_at: z.string(),
      accepted_ms: z.number().int(),
      key_ids: z.array(z.string()),
    })
    .nullable(),
  trouble: z.object({ since: z.string(), reason: z.string(), message: z.string() }).nullable(),
});
export type Kept = z.output<typeof keptSchema>;
export type KeptDocument = NonNullable<Kept['document']>;
export type Trouble = NonNullable<Kept['trouble']>;

export const nothingKept: Kept = { document: null, trouble: null };

export function keptDocumentPath(stateDir: string): string {
  return join(stateDir, 'declared.json');
}

export function keptDocumentFile(stateDir: string): StateFile<Kept> {
  return stateFile<Kept>({ path: keptDocumentPath(stateDir), version: 1, schema: keptSchema });
}
