import { type DesiredDocument, largestFileCharacters, longestValidityMs, readDocument } from './document.ts';

export interface DraftOptions {
  agents: readonly string[];
  /** Default: the seconds since the epoch, which rise by themselves. */
  serial: number | undefined;
  validForMs: number;
  nowMs: number;
  files: readonly { name: string; text: string }[];
}

/** The document that is to be signed, or what is wrong with it. Pure. */
export function draftDocument({ agents, serial, validForMs, nowMs, files }: DraftOptions): DesiredDocument | string {
  if (validForMs > longestValidityMs) return 'a document may be valid for a year at most';
  const long = files.find(({ text }) => text.length > largestFileCharacters);
  if (long !== undefined) return `${long.name} is longer than ${largestFileCharacters} characters`;
  const document: DesiredDocument = {
    schema: 'felhom.desired/1',
    agents: [...new Set(agents)],
    serial: serial ?? Math.floor(nowMs / 1000),
    issued: formatSeconds(nowMs),
    expires: formatSeconds(nowMs + validForMs),
    files: files.map(({ name, text }) => ({ name, text })),
  };
  // Signed is only what the other side will take.
  const read = readDocument(Buffer.from(JSON.stringify(document)));
  return read.kind === 'document' ? read.document : read.detail;
}

function formatSeconds(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}
