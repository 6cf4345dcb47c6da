import { fields, type StateReading, word } from './state-reading.ts';

/** The signed document in force and what is wrong with its server, as everything of `status` is read. */
export interface Declared {
  url: string | null;
  /** null: none is in force. */
  serial: number | null;
  accepted_at: string | null;
  expires: string | null;
  trouble: { since: string | null; reason: string | null; message: string } | null;
}

/** null where what is declared lies in files, or the file is damaged. */
export function declaredAt(reading: StateReading): Declared | null {
  const value = reading.value('declared.json');
  if (value['document'] === undefined) return null;
  const { url, serial, accepted_at: acceptedAt, expires } = fields(value['document']);
  const { since, reason, message } = fields(value['trouble']);
  return {
    url: word(url),
    serial: typeof serial === 'number' ? serial : null,
    accepted_at: word(acceptedAt),
    expires: word(expires),
    trouble: typeof message === 'string' ? { since: word(since), reason: word(reason), message } : null,
  };
}

/** What a person must look at. */
export function declaredAttention(
  { serial, expires, trouble }: Declared,
  nowMs: number,
): { message: string; hint: string }[] {
  const rest = serial === null ? 'none is in force, and guests stay as they are' : `serial ${serial} stays in force`;
  const found =
    trouble === null
      ? []
      : [`the signed document of the guests (${trouble.reason}, since ${trouble.since}): ${trouble.message}; ${rest}`];
  if (expires !== null && Date.parse(expires) <= nowMs)
    found.push(`the signed document of the guests expired at ${expires}, and no newer one came; ${rest}`);
  return found.map((message) => ({ message, hint: 'felhom-agent desired show' }));
}
