import { readStrictJson } from '@felhom/signed-document/strict-json.ts';
import { z } from 'zod';

/** DSSE's payload type of a desired state: no other kind of document of ours can be read as one. */
export const desiredPayloadType = 'application/vnd.felhom.desired-state.v1+json';
/** A document that is good for longer is as good as one without an end. */
export const longestValidityMs = 366 * 86_400_000;
/** Of one guest's file in it, as in a folder. */
export const largestFileCharacters = 2 ** 18;

const moment = z.iso.datetime({ precision: 0, error: 'expected a time such as 2026-11-24T22:00:00Z' });

/**
 * What a desired-state document holds: the very files that would lie in guests.d, so that what a person
 * reviewed is what is signed, and mistakes are told with the lines of their file.
 */
const documentSchema = z.strictObject({
  schema: z.literal('felhom.desired/1'),
  /** The ids of the agents that it is for: `felhom-agent operation list` prints an agent's. */
  agents: z
    .array(z.string().regex(/^[0-9a-f]{32}$/, 'expected 32 hex digits'))
    .min(1)
    .max(1_000),
  /** Rises with every document. */
  serial: z.number().int().min(1),
  issued: moment,
  expires: moment,
  files: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected the name of a file'),
        text: z.string().max(largestFileCharacters),
      }),
    )
    .max(10_000),
});
export type DesiredDocument = z.output<typeof documentSchema>;

export type DocumentReading =
  | { kind: 'document'; document: DesiredDocument }
  | { kind: 'refused'; reason: 'malformed_payload' | 'duplicate_key'; detail: string };

/** Reads what an envelope carried. Never throws. */
export function readDocument(payload: Uint8Array): DocumentReading {
  const json = readStrictJson(payload);
  if (json.kind === 'refused') {
    const reason = json.reason === 'duplicate_key' ? json.reason : 'malformed_payload';
    return { kind: 'refused', reason, detail: json.detail };
  }
  const parsed = documentSchema.safeParse(json.value);
  const fault = parsed.success ? faultOf(parsed.data) : faultIn(parsed.error);
  if (fault !== null) return { kind: 'refused', reason: 'malformed_payload', detail: fault };
  return { kind: 'document', document: parsed.data as DesiredDocument };
}

function faultIn(error: z.ZodError): string {
  const [issue] = error.issues;
  const place = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  return `${place}${issue?.message ?? 'it is no desired state'}`;
}

function faultOf({ issued, expires, files }: DesiredDocument): string | null {
  const validMs = Date.parse(expires) - Date.parse(issued);
  if (validMs <= 0) return 'it expires before it is issued';
  if (validMs > longestValidityMs) return 'it is valid for longer than a year';
  const twice = files.find(({ name }, at) => files.findIndex((each) => each.name === name) !== at);
  return twice === undefined ? null : `the file ${twice.name} stands in it twice`;
}
