import { constants } from 'node:fs';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, errorCode } from './disk.ts';
import { cutTail, nothingRecorded } from './journal-file.ts';
import { parseJournal, recordsOf, type Stretch } from './journal-format.ts';
import { openJournalFile } from './journal-opening.ts';
import { isNamed } from './lock-file.ts';
import type { Schema } from './schema.ts';

/*
 * How far one of several writers has read their journal.
 *
 * Invariants
 * - `catchUp` and `appended` are called under the journal's lock alone. After `catchUp` the open file is the one that the
 *   path names, everything in it is read, and it has no torn tail.
 * - A file that another process's compaction put there is read anew from its beginning; one that was removed is never
 *   made again under our feet: an empty journal would say that nothing was ever begun.
 */

export class JournalView<R> {
  readonly #path: string;
  readonly #schema: Schema<R>;
  readonly #disk: Disk;
  #file: DiskFile | null = null;
  #stretches: Stretch<R>[] = [];
  #records: readonly R[] = [];
  #problems: string[] = [];
  #sizeBytes = 0;

  constructor({ path, schema, disk }: { path: string; schema: Schema<R>; disk: Disk }) {
    this.#path = path;
    this.#schema = schema;
    this.#disk = disk;
  }

  get records(): readonly R[] {
    return this.#records;
  }

  get stretches(): readonly Stretch<R>[] {
    return this.#stretches;
  }

  /** Where the next record goes. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Whether nobody has written since we last looked. */
  async isCurrent(): Promise<boolean> {
    if (this.#file === null || !(await isNamed(this.#path, this.#file))) return false;
    return (await this.#file.stat()).sizeBytes === this.#sizeBytes;
  }

  /** Reads what others wrote, and cuts what one that died in its append left. Answers the open file. */
  async catchUp(): Promise<DiskFile> {
    const file = await this.#reopen();
    if ((await file.stat()).sizeBytes < this.#sizeBytes) this.#forget(); // Somebody's own cut: read it anew.
    const bytes = await file.readFrom(this.#sizeBytes);
    const { stretches, intactBytes, problems } = parseJournal(bytes, this.#schema, this.#sizeBytes);
    const at = this.#sizeBytes + intactBytes;
    await cutTail(this.#path, file, { tail: bytes.subarray(intactBytes), at }, this.#disk);
    this.#stretches.push(...stretches);
    this.#records = [...this.#records, ...recordsOf(stretches)];
    this.#problems.push(...problems);
    this.#sizeBytes = at;
    return file;
  }

  /** We appended these records, which have so many bytes. */
  appended(records: readonly R[], bytes: number): void {
    this.#stretches.push(...records.map((value): Stretch<R> => ({ kind: 'record', value })));
    this.#records = [...this.#records, ...records];
    this.#sizeBytes += bytes;
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  async #reopen(): Promise<DiskFile> {
    const open = this.#file;
    if (open !== null && (await isNamed(this.#path, open))) return open;
    const file =
      open === null
        ? await openJournalFile(this.#path, this.#disk)
        : await this.#disk.open(this.#path, constants.O_RDWR).catch((error: unknown) => this.#refuseRemoved(error));
    await open?.close();
    this.#file = file;
    this.#forget();
    return file;
  }

  #refuseRemoved(cause: unknown): never {
    if (errorCode(cause) !== 'ENOENT') throw cause;
    throw new Failure('busy', {
      message: `${this.#path} was removed while it was open. ${nothingRecorded}`,
      hint: 'Put the journal back, or restart the service so that it begins a new one.',
      cause,
    });
  }

  #forget(): void {
    this.#stretches = [];
    this.#records = [];
    this.#problems = [];
    this.#sizeBytes = 0;
  }
}
