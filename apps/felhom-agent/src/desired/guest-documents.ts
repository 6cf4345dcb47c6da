import { basename } from 'node:path';
import { parseConfig } from '@felhom/cli/config-file.ts';
import { asFailure } from '@felhom/kernel/failure.ts';
import { type GuestFile, guestFileSchema } from '../config.ts';
import type { Desired, DesiredFields, DesiredGuest, DesiredProblem } from '../reconcile/model.ts';
import type { DesiredState } from './schema.ts';

/** The text of one guest's document, and where it stands. */
export interface GuestText {
  text: string;
  /** A file's path, for errors and for the plan. */
  source: string;
  /** Its first line in `source`. Default 1. */
  firstLine?: number;
}

/** Documents of guests as they were read: what is sound, and what is not. Each guest stands once, or in the problems. */
export interface GuestDocuments {
  guests: readonly { source: string; guest: GuestFile }[];
  problems: readonly DesiredProblem[];
}

export const guestHint =
  'felhom-agent config schema --guest prints every key; felhom-agent config check reads the files again.';

/**
 * Parses documents of guests, each by itself: a mistake is a problem of its own guest and of no other.
 * Two documents for one guest are both problems, and so is a sound one beside a broken one: which of
 * them is meant cannot be told, and the guest is left alone. Never throws for what is written in them.
 */
export async function parseGuestDocuments(
  texts: readonly GuestText[],
  parse: ParseGuestText = parseGuestText,
): Promise<GuestDocuments> {
  const sound: { source: string; guest: GuestFile }[] = [];
  const problems: DesiredProblem[] = [];
  for (const each of texts) {
    const parsed = await parse(each);
    if ('guest' in parsed) sound.push(parsed);
    else problems.push(...parsed.problems);
  }
  return separate(sound, problems);
}

type ParsedGuestText = { source: string; guest: GuestFile } | { problems: readonly DesiredProblem[] };
export type ParseGuestText = (text: GuestText) => Promise<ParsedGuestText>;

async function parseGuestText(text: GuestText): Promise<ParsedGuestText> {
  try {
    const guest = await parseConfig({ ...text, file: text.source, schema: guestFileSchema, hint: guestHint });
    return { source: placeOf(text), guest };
  } catch (error) {
    const { message } = asFailure(error);
    return { problems: guestsNamed(text).map((vmid) => ({ source: placeOf(text), vmid, message })) };
  }
}

/**
 * Parses again only what is not the text that it was in the pass before: parsing a thousand files takes
 * half a second. What it answers is called once for each pass.
 */
export function rememberingParser(): () => ParseGuestText {
  let known = new Map<string, { text: string; parsed: ParsedGuestText }>();
  return () => {
    const before = known;
    const now: typeof known = new Map();
    known = now;
    return async (text) => {
      const place = placeOf(text);
      const same = before.get(place);
      const parsed = same?.text === text.text ? same.parsed : await parseGuestText(text);
      now.set(place, { text: text.text, parsed });
      return parsed;
    };
  };
}

function placeOf({ source, firstLine = 1 }: GuestText): string {
  return firstLine === 1 ? source : `${source}:${firstLine}`;
}

/** The guests that a broken document is about: by its `vmid`, else by the number at the head of its file's name. */
function guestsNamed({ text, source }: GuestText): (number | null)[] {
  const written = [...text.matchAll(/^["']?vmid["']?\s*:\s*["']?([1-9]\d{2,8})\b/gm)].map((match) => Number(match[1]));
  if (written.length > 0) return [...new Set(written)];
  return [vmidOf(basename(source))];
}

/** The guest that a file is about by its name: `101.yaml`, `101-docker1.yaml`; null for another name. */
export function vmidOf(fileName: string): number | null {
  const [, number] = /^([1-9]\d{2,8})(?:\D|$)/.exec(fileName) ?? [];
  return number === undefined ? null : Number(number);
}

function separate(
  sound: readonly { source: string; guest: GuestFile }[],
  problems: readonly DesiredProblem[],
): GuestDocuments {
  const sources = new Map<number, string[]>();
  const note = (vmid: number, source: string): void => void sources.set(vmid, [...(sources.get(vmid) ?? []), source]);
  for (const { source, guest } of sound) note(guest.vmid, source);
  for (const { source, vmid } of problems) if (vmid !== null) note(vmid, source);
  const broken = new Set(problems.map((problem) => problem.vmid));
  const isAlone = (vmid: number): boolean => (sources.get(vmid)?.length ?? 0) === 1;
  const twice = sound
    .filter(({ guest }) => !isAlone(guest.vmid))
    .map(({ source, guest: { vmid } }): DesiredProblem => {
      const others = (sources.get(vmid) ?? []).filter((each) => each !== source);
      const where = others.length === 0 ? `twice in ${source}` : `in ${others.join(' and in ')} too`;
      return { source, vmid, message: `${source}: guest ${vmid} is declared ${where}; keep one of them` };
    });
  return {
    guests: sound.filter(({ guest }) => isAlone(guest.vmid) && !broken.has(guest.vmid)),
    problems: [...problems, ...twice],
  };
}

/** What reconcile needs of them. A document without `desired` declares nothing, and its guest is not managed. */
export function toDesired({ guests, problems }: GuestDocuments, version: string | null): Desired {
  return {
    guests: guests.flatMap(({ source, guest }): DesiredGuest[] => {
      if (guest.desired === undefined) return [];
      const { state = null, ...fields } = guest.desired;
      return [{ vmid: guest.vmid, source, held: guest.held ?? null, state, fields: definedOf(fields) }];
    }),
    problems,
    version,
  };
}

function definedOf(fields: Omit<DesiredState, 'state'>): DesiredFields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
