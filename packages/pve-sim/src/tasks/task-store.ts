import { appendFileSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isMissing, readJson, readText, writeJson } from '../state/files.ts';
import { isAlive } from '../state/processes.ts';
import { formatUpid, type UpidFields } from './upid.ts';

// Invariants:
// - A task's folder is written before its UPID is answered; its log only grows.
// - The last log line is written before the end is: "stopped" never precedes the final status.
// - A task without an end whose process is gone has ended with `unexpected status`.

const taskRecord = z.object({
  upid: z.string(),
  node: z.string(),
  pid: z.number().int(),
  pstart: z.number().int(),
  starttime: z.number().int(),
  type: z.string(),
  id: z.string(),
  user: z.string(),
  /** True: `pid` is a process of its own. False: the task runs inside the simulator. */
  worker: z.boolean(),
  /** Which run of the simulator started a task that runs inside it. */
  run: z.string(),
});
export type TaskRecord = z.infer<typeof taskRecord>;

const taskEnd = z.object({ exitstatus: z.string(), endtime: z.number().int() });
export type TaskEnd = z.infer<typeof taskEnd>;

export interface TaskStore {
  create(fields: UpidFields, worker: boolean): TaskRecord;
  get(upid: string): TaskRecord | null;
  list(): TaskRecord[];
  append(upid: string, line: string): void;
  lines(upid: string): string[] | null;
  /** Writes the last line that goes with `exitstatus` and then the end. `unexpected status` has no last line. */
  finish(upid: string, exitstatus: string): void;
  /** Null while the task runs. Notices a dead worker and records it. */
  end(upid: string): TaskEnd | null;
}

/** Opens the tasks of a state folder; `run` names this run of the simulator (workers pass their own task's). */
export function openTasks(state: string, run: string): TaskStore {
  const folder = join(state, 'tasks');
  const ended = new Map<string, TaskEnd>();
  const records = new Map<string, TaskRecord>();
  const pathOf = (upid: string, file: string): string => join(folder, encodeURIComponent(upid), file);

  const get = (upid: string): TaskRecord | null => {
    const known = records.get(upid) ?? readJson(pathOf(upid, 'task.json'), taskRecord);
    if (known !== null) records.set(upid, known);
    return known;
  };
  const store: TaskStore = {
    get,
    create: (fields, worker) => {
      const record: TaskRecord = { ...fields, upid: formatUpid(fields), worker, run };
      mkdirSync(pathOf(record.upid, ''), { recursive: true });
      writeJson(pathOf(record.upid, 'task.json'), record);
      return record;
    },
    list: () => listFolders(folder).flatMap((name) => get(decodeURIComponent(name)) ?? []),
    append: (upid, line) => appendFileSync(pathOf(upid, 'log'), `${line}\n`),
    lines: (upid) => (get(upid) === null ? null : splitLines(readText(pathOf(upid, 'log')) ?? '')),
    finish: (upid, exitstatus) => {
      const last = lastLine(exitstatus);
      if (last !== null) store.append(upid, last);
      const end = { exitstatus: exitstatus.replaceAll('\n', ' '), endtime: Math.floor(Date.now() / 1000) };
      writeJson(pathOf(upid, 'end.json'), end);
    },
    end: (upid) => {
      const known = ended.get(upid) ?? readJson(pathOf(upid, 'end.json'), taskEnd) ?? lost(upid);
      if (known !== null) ended.set(upid, known);
      return known;
    },
  };
  return store;

  function lost(upid: string): TaskEnd | null {
    const record = get(upid);
    if (record === null) return null;
    const runs = record.worker ? isAlive({ pid: record.pid, startTime: record.pstart }) : record.run === run;
    if (runs) return null;
    // It may have ended in the moment between the two looks.
    const written = readJson(pathOf(upid, 'end.json'), taskEnd);
    if (written !== null) return written;
    const end = { exitstatus: 'unexpected status', endtime: lastWrite(pathOf(upid, 'log'), record.starttime) };
    writeJson(pathOf(upid, 'end.json'), end);
    return end;
  }
}

function lastLine(exitstatus: string): string | null {
  if (exitstatus === 'OK') return 'TASK OK';
  if (exitstatus.startsWith('WARNINGS: ')) return `TASK ${exitstatus}`;
  return exitstatus === 'unexpected status' ? null : `TASK ERROR: ${exitstatus}`;
}

function splitLines(text: string): string[] {
  const lines = text.split('\n');
  lines.pop(); // what follows the last line end: nothing, or a line that is being written
  return lines;
}

function lastWrite(path: string, otherwise: number): number {
  try {
    return Math.floor(statSync(path).mtimeMs / 1000);
  } catch (error) {
    if (isMissing(error)) return otherwise;
    throw error;
  }
}

function listFolders(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
