import { systemClock } from '@felhom/kernel/clock.ts';
import { describe, expect, it } from 'vitest';
import { newJob } from '../backup/job.ts';
import { createJobs, type Jobs } from '../backup/jobs.ts';
import type { BackupItem } from '../backup/ports.ts';
import type { BackupPolicy } from '../config.ts';
import { createDueService } from './due-service.ts';
import { unknownIdentity } from './identity.ts';

const policy: BackupPolicy = {
  storage: 'bk',
  everyMs: 86_400_000,
  window: null,
  maxAgeMs: null,
  minGrade: 'crash-consistent',
  countForeign: false,
  onDowngrade: 'abort',
  mode: 'snapshot',
  compress: 'zstd',
};

const made = (): BackupItem => ({
  volid: 'bk:backup/1',
  vmid: 101,
  ctimeSeconds: Math.floor(Date.now() / 1_000),
  sizeBytes: 1,
  notes: 'felhom/1 j crash-consistent full',
  protected: false,
});

/** The service over one storage, whose listings the test holds back: the next one is answered by `tell`. */
function openService() {
  const jobs = createJobs({ records: [], journal: { append: async () => undefined }, clock: systemClock });
  const asked: ((items: BackupItem[]) => void)[] = [];
  const due = createDueService({
    pve: {
      node: 'pve1',
      storage: async () => null,
      backups: async () => await new Promise<BackupItem[]>((tell) => asked.push(tell)),
    },
    jobs,
    guests: {
      entry: (vmid) => ({ vmid, token_sha256: null, identity: unknownIdentity, foreign_seconds: 0, hold: null }),
      set: async () => undefined,
      raise: async () => undefined,
    },
    clock: systemClock,
    policies: () => [policy],
    held: () => null,
    guestName: () => 'docker1',
    backoffMs: 0,
    cacheMs: 3_600_000,
    log: () => undefined,
  });
  const listing = async (): Promise<(items: BackupItem[]) => void> => {
    await expect.poll(() => asked.length).toBeGreaterThan(0);
    return asked.shift() ?? (() => undefined);
  };
  return { jobs, due, listing };
}

async function openJob(jobs: Jobs): Promise<void> {
  const opened_at = new Date().toISOString();
  await jobs.open(
    newJob({ job_id: 'j', vmid: 101, origin: 'operator', opened_at, host_boot_id: 'b', quiesce: false, storage: 'bk' }),
  );
  await jobs.change('j', { phase: 'capturing' }, 'at-once');
}

describe('whether a backup is due at this moment', () => {
  it('is looked at again where another one ends while the storage is being read', async () => {
    const { jobs, due, listing } = openService();
    await openJob(jobs);
    const verdict = due.verdict(101);
    const tell = await listing();
    await jobs.change('j', { phase: 'done', task_ended: true }, 'at-once');
    tell([]); // As it was before the end.
    (await listing())([made()]);
    expect(await verdict).toMatchObject({ due: false, reason: 'fresh' });
  });

  it('is not told from a listing that was kept from before the end of another one', async () => {
    const { jobs, due, listing } = openService();
    const first = due.verdict(101);
    (await listing())([]);
    expect(await first).toMatchObject({ due: true, reason: 'never', storage: 'bk' });
    await openJob(jobs);
    await jobs.change('j', { phase: 'done', task_ended: true }, 'at-once');
    const second = due.verdict(101);
    (await listing())([made()]);
    expect(await second).toMatchObject({ due: false, reason: 'fresh' });
  });
});
