import { describe, expect, it } from 'vitest';
import { stepFromLog } from './follow-log.ts';
import { newJob } from './job.ts';
import type { GuestLog } from './ports.ts';

const log: GuestLog = {
  mode: 'snapshot',
  wasRunning: true,
  freezing: false,
  pastGate: true,
  proof: "INFO: creating vzdump archive '/x'",
  excluded: [],
  progress: null,
  sizeBytes: null,
  volid: null,
  end: null,
  reason: null,
  waiting: false,
};
const job = newJob({
  job_id: 'a',
  vmid: 101,
  origin: 'controller',
  opened_at: '2026-11-20T01:00:00.000Z',
  host_boot_id: 'b',
  quiesce: true,
  phase: 'capturing',
});

describe('a look at the log', () => {
  it('proves the snapshot of a container in snapshot or suspend mode', () => {
    for (const mode of ['snapshot', 'suspend'] as const) {
      expect(stepFromLog(job, { ...log, mode }, 'lxc', { mode: null }).set).toMatchObject({
        phase: 'snapshotted',
        mode,
      });
    }
  });

  it('proves nothing for a container in stop mode: the end of the task does', () => {
    expect(stepFromLog(job, { ...log, mode: 'stop' }, 'lxc', { mode: null }).set.phase).toBeUndefined();
  });

  it('proves a VM in any mode', () => {
    expect(stepFromLog(job, { ...log, mode: 'stop' }, 'qemu', { mode: null }).set.phase).toBe('snapshotted');
  });

  it('moves nothing before the apps are reported down', () => {
    for (const phase of ['queued', 'ready'] as const)
      expect(stepFromLog({ ...job, phase }, log, 'lxc', { mode: null }).set.phase).toBeUndefined();
  });

  it('tells a downgrade of a running guest, and takes stop for the mode of a stopped one', () => {
    expect(stepFromLog(job, { ...log, mode: 'suspend', proof: null }, 'lxc', { mode: 'snapshot' }).downgraded).toBe(
      true,
    );
    expect(
      stepFromLog(job, { ...log, mode: 'stop', wasRunning: false, proof: null }, 'lxc', { mode: 'snapshot' })
        .downgraded,
    ).toBe(false);
    expect(stepFromLog(job, { ...log, mode: 'suspend', proof: null }, 'lxc', { mode: null }).downgraded).toBe(false);
  });
});
