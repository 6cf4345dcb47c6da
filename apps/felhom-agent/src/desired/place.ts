import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readConfigText } from '@felhom/cli/config-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { inParallel } from '../reconcile/in-parallel.ts';
import type { Desired, DesiredProblem } from '../reconcile/model.ts';
import {
  type GuestDocuments,
  type GuestText,
  parseGuestDocuments,
  rememberingParser,
  toDesired,
  vmidOf,
} from './guest-documents.ts';
import { isOnOwnDisk } from './own-disk.ts';
import type { DesiredProvider } from './provider.ts';
import { type ReadText, rememberingReader } from './text-reader.ts';

/** One guest is a screen of text; one file for a whole node holds many. */
const guestFileBytes = 2 ** 18;
const oneFileBytes = 4 * 2 ** 20;
const filesAtATime = 32;

/**
 * The declaration at a path of this host: a folder with one file for each guest, or one file with a
 * YAML document for each. Where nothing is, nothing is declared. What it is is looked up in every pass.
 */
export function placeProvider(path: string): DesiredProvider {
  const [parser, reader] = [rememberingParser(), rememberingReader()];
  let last: { read: Texts; desired: Desired } | null = null;
  return {
    read: async () => {
      const read = await readTexts(path, reader(await isOnOwnDisk(path)));
      // The same texts say the same: a pass finds them unchanged nearly always.
      if (last !== null && isSame(last.read, read)) return last.desired;
      const parsed = await parseGuestDocuments(read.texts, parser());
      const desired = toDesired(withProblems(parsed, read.problems), versionOf(read));
      last = { read, desired };
      return desired;
    },
  };
}

function isSame(before: Texts, now: Texts): boolean {
  const isAsBefore = ({ source, text, firstLine }: GuestText, at: number): boolean => {
    const known = before.texts[at];
    return known?.source === source && known.text === text && known.firstLine === firstLine;
  };
  return (
    now.texts.length === before.texts.length &&
    now.texts.every(isAsBefore) &&
    JSON.stringify(now.problems) === JSON.stringify(before.problems)
  );
}

/** The documents at `path`. @throws Failure `config_invalid` when the place itself cannot be read. */
export async function readGuestDocuments(path: string): Promise<GuestDocuments> {
  const { texts, problems } = await readTexts(path, readConfigText);
  return withProblems(await parseGuestDocuments(texts), problems);
}

/** A file that cannot be read is about the guest that its name begins with, and keeps a sound one for it from counting. */
function withProblems(parsed: GuestDocuments, unread: readonly DesiredProblem[]): GuestDocuments {
  const broken = new Set(unread.map((problem) => problem.vmid));
  return {
    guests: parsed.guests.filter(({ guest }) => !broken.has(guest.vmid)),
    problems: [...unread, ...parsed.problems],
  };
}

interface Texts {
  texts: readonly GuestText[];
  problems: readonly DesiredProblem[];
}

async function readTexts(path: string, read: ReadText): Promise<Texts> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return await readFolder(path, read);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { texts: [], problems: [] };
    throw unreadable(path, error);
  }
  return { texts: documentsOf(path, (await read(path, oneFileBytes)) ?? ''), problems: [] };
}

function unreadable(path: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  return new Failure('config_invalid', {
    message: `what is declared of the guests cannot be read: ${cause instanceof Error ? cause.message : String(cause)}; guests stay as they are`,
    hint: `Check that ${path} is a folder or a file, and that you may read it.`,
    cause,
  });
}

async function readFolder(folder: string, read: ReadText): Promise<Texts> {
  const names = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.')).toSorted();
  const outcomes = await inParallel(names, filesAtATime, async (name) => await readOne(folder, name, read));
  return {
    texts: outcomes.filter((outcome) => 'text' in outcome),
    problems: outcomes.filter((outcome) => 'message' in outcome),
  };
}

async function readOne(folder: string, name: string, read: ReadText): Promise<GuestText | DesiredProblem> {
  const source = join(folder, name);
  try {
    const text = await read(source, guestFileBytes);
    return text === undefined ? { source, vmid: vmidOf(name), message: gone(source) } : { text, source };
  } catch (error) {
    return { source, vmid: vmidOf(name), message: error instanceof Error ? error.message : String(error) };
  }
}

function gone(source: string): string {
  return `the configuration ${source} cannot be read: it is gone, or a link to nothing`;
}

/** Splits a stream of YAML documents at its markers; one that says nothing is none. */
export function documentsOf(source: string, text: string): GuestText[] {
  const documents: GuestText[] = [];
  let from = 1;
  let lines: string[] = [];
  const end = (next: number): void => {
    if (lines.some((line) => !/^\s*(#.*)?$/.test(line)))
      documents.push({ text: lines.join('\n'), source, firstLine: from });
    from = next;
    lines = [];
  };
  for (const [index, line] of text.split('\n').entries()) {
    const [marker] = /^(---|\.\.\.)(?=\s|$)/.exec(line) ?? [];
    if (marker !== undefined) end(index + 1);
    lines.push(line.slice(marker?.length ?? 0).padStart(line.length));
  }
  end(0);
  return documents;
}

function versionOf({ texts, problems }: Texts): string {
  const hash = createHash('sha256');
  for (const { source, text, firstLine } of texts) hash.update(JSON.stringify([source, firstLine ?? 1, text]));
  for (const { message } of problems) hash.update(message);
  return hash.digest('hex');
}
