import type { JobRecord } from 'felhom-agent/backup/job.ts';
import type { LogReader } from 'felhom-agent/backup/ports.ts';
import type { AgentAppOptions } from 'felhom-agent/serve/app.ts';
import type { Mutation } from './agent-life.ts';

/** A wrong agent: something that it must do is left out, at the port where it would do it. */
export interface Mutant {
  name: string;
  /** In which scenario it must be caught. */
  scenario: string;
  /** How often the agent has to die for that. */
  deaths: 0 | 1;
  mutate: Mutation;
  /** What is then found broken. */
  breaks: RegExp;
}

const none = async (): Promise<void> => undefined;

function journaling(options: AgentAppOptions, append: (record: JobRecord) => Promise<void>): AgentAppOptions {
  return { ...options, journal: { append } };
}

function reading(options: AgentAppOptions, guest: (reader: LogReader, vmid: number) => ReturnType<LogReader['guest']>) {
  const logReader = (storage: string | null): LogReader => {
    const reader = options.pve.logReader(storage);
    return {
      feed: reader.feed,
      guest: (vmid) => guest(reader, vmid),
      get taskError() {
        return reader.taskError;
      },
    };
  };
  return { ...options, pve: { ...options.pve, logReader } };
}

export const mutants: readonly Mutant[] = [
  {
    name: 'posts before its intent is on disk',
    scenario: 'hook gate',
    deaths: 0,
    mutate: (options) =>
      journaling(options, async (record) => {
        const written = options.journal.append(record);
        if (record.kind !== 'changed' || record.set.intent_at === undefined) await written;
      }),
    breaks: /came before its intent was durable/,
  },
  {
    name: 'posts again when the answer was lost, and nothing had come of it',
    scenario: 'a lost answer, nothing started',
    deaths: 0,
    mutate: (options) => postingAgain(options),
    breaks: /was posted twice/,
  },
  {
    name: 'posts again when the answer was lost, and a task had come of it',
    scenario: 'a lost answer, task started',
    deaths: 0,
    mutate: (options) => postingAgain(options),
    breaks: /was posted twice/,
  },
  {
    name: 'does not look for its mark when the answer was lost',
    scenario: 'a lost answer, task started',
    deaths: 0,
    mutate: (options) => ({
      ...options,
      pve: { ...options.pve, findStarted: async () => ({ kind: 'not-started' }) },
    }),
    breaks: /the notes of an archive are still pending/,
  },
  {
    name: 'does not look for its mark after it was killed',
    scenario: 'hook gate',
    deaths: 1,
    mutate: (options) => ({
      ...options,
      pve: { ...options.pve, findStarted: async () => ({ kind: 'not-started' }) },
    }),
    breaks: /the notes of an archive are still pending/,
  },
  {
    name: 'gives the lane back before the job has ended',
    scenario: 'log gate',
    deaths: 0,
    mutate: (options) => ({
      ...options,
      lanes: {
        ...options.lanes,
        tryGuest: async (vmid) => {
          const lane = await options.lanes.tryGuest(vmid);
          await lane?.release();
          return lane;
        },
      },
    }),
    breaks: /without its guest's lane|without its lanes/,
  },
  {
    name: 'keeps the lane when the job has ended',
    scenario: 'hook gate',
    deaths: 0,
    mutate: (options) => ({
      ...options,
      lanes: {
        ...options.lanes,
        tryGuest: async (vmid) => {
          const lane = await options.lanes.tryGuest(vmid);
          return lane === null ? null : { release: none };
        },
      },
    }),
    breaks: /the lane guest-101 is still held/,
  },
  {
    name: 'takes the line before the snapshot for its proof',
    scenario: 'log gate',
    deaths: 0,
    mutate: (options) =>
      reading(options, (reader, vmid) => {
        const log = reader.guest(vmid);
        return { ...log, proof: log.proof ?? (log.freezing ? "INFO: create storage snapshot 'vzdump'" : null) };
      }),
    breaks: /called captured before there was a point in time/,
  },
  {
    name: 'does not end a gate at hold_max',
    scenario: 'apps that take longer to stop than vzdump waits',
    deaths: 0,
    mutate: (options) => ({
      ...options,
      config: { ...options.config, bounds: { ...options.config.bounds, hold_max: 600_000 } },
    }),
    breaks: /the hook kept vzdump waiting/,
  },
  {
    name: 'keeps in memory alone that its guest is owed a start',
    scenario: 'stop mode, guest left down',
    deaths: 1,
    mutate: (options) =>
      journaling(options, async (record) => {
        const told = record.kind === 'changed' && record.set.guest_owed === 'owed';
        const set = told ? { ...record.set, guest_owed: undefined } : null;
        await options.journal.append(set === null || record.kind !== 'changed' ? record : { ...record, set });
      }),
    breaks: /the guest is down/,
  },
  {
    name: 'goes on with a job of before the host was restarted',
    scenario: 'the host restarts at the log gate',
    deaths: 0,
    mutate: (options) => ({ ...options, hostBootId: 'boot-1' }),
    breaks: /outlived the host/,
  },
  {
    name: 'does not write the notes',
    scenario: 'hook gate',
    deaths: 0,
    mutate: (options) => ({ ...options, pve: { ...options.pve, writeNotes: none } }),
    breaks: /the notes of an archive are still pending/,
  },
  {
    name: 'tells of changes before they are on disk, and loses them',
    scenario: 'hook gate',
    deaths: 1,
    mutate: (options) =>
      journaling(options, async (record) => {
        if (record.kind === 'opened') await options.journal.append(record);
      }),
    breaks: /came before its intent was durable|is not settled/,
  },
];

function postingAgain(options: AgentAppOptions): AgentAppOptions {
  const { startBackup } = options.pve;
  return {
    ...options,
    pve: {
      ...options.pve,
      startBackup: async (request) => await startBackup(request).catch(async () => await startBackup(request)),
    },
  };
}
