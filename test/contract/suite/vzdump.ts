import { systemClock } from '@felhom/kernel/clock.ts';
import { followTask } from '@felhom/proxmox/follow-task.ts';
import type { LogLine, TaskEnd } from '@felhom/proxmox/tasks.ts';
import type { Upid } from '@felhom/proxmox/upid.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContractNode, ContractTarget } from '../targets.ts';
import { deleteBackups, makeBackup, startBackup, waitUntil } from './backups.ts';

export function describeVzdump(target: ContractTarget): void {
  describe('backups', () => {
    let node: ContractNode;
    beforeAll(async () => {
      node = await target.open();
    });
    afterAll(async () => {
      await deleteBackups(node);
      await node.close();
    });

    const expectUntouched = async (): Promise<void> => {
      expect(await node.pve.guests.status(node.guest)).toMatchObject({ running: true, lock: null });
      expect((await node.pve.guests.config(node.guest)).options['parent']).toBe(undefined);
    };

    /** How a task ended, and its log. */
    const endOf = async (upid: Upid): Promise<{ end: TaskEnd; log: string[] }> => {
      const log: string[] = [];
      const onLines = (lines: readonly LogLine[]): void => void log.push(...lines.map(({ text }) => text));
      const signal = AbortSignal.timeout(50_000);
      const end = await followTask({ tasks: node.pve.tasks, clock: systemClock }, upid, { onLines, signal });
      if (end.kind !== 'ended') throw new Error(`the task was not followed to its end: ${end.kind}`);
      return { end: end.end, log };
    };

    it('a snapshot backup proves its point in time, ends and is on the storage', async () => {
      const { end, log, guest } = await makeBackup(node, 'contract-snapshot', { lockwaitMinutes: 0 });
      expect(end).toMatchObject({ kind: 'ended', end: { kind: 'ok' } });
      expect(log.command).toMatchObject({ requestedMode: 'snapshot', storage: node.storage, vmids: [node.guest.vmid] });
      expect(log.command?.notesTemplate).toBe('felhom/1 contract-snapshot pending');
      expect(guest).toMatchObject({
        kind: node.guest.kind,
        running: true,
        result: { kind: 'finished' },
        notes: 'added',
      });
      // Asked for a snapshot, PVE may do the next best, and says so.
      expect(guest.mode === 'snapshot' || guest.fallback?.to === guest.mode).toBe(true);
      expect(guest.proof).not.toBe(null);
      expect(guest.included.length).toBeGreaterThan(0);
      expect(guest.downtime.backOnline).toBe(true);
      const item = (await node.pve.storage.backups(node.storage, { vmid: node.guest.vmid })).find(
        ({ volid }) => volid === guest.volid,
      );
      expect(item).toMatchObject({
        ...node.guest,
        notesFirstLine: 'felhom/1 contract-snapshot pending',
        protected: false,
      });
      await expectUntouched();
    });

    it('suspend mode proves a container when it resumes, and a VM when its task begins', async () => {
      const { end, guest } = await makeBackup(node, 'contract-suspend', { mode: 'suspend' });
      expect(end).toMatchObject({ end: { kind: 'ok' } });
      expect(guest.mode).toBe('suspend');
      expect(guest.proof?.text).toMatch(
        node.guest.kind === 'lxc' ? /^INFO: resuming guest$/ : /^INFO: started backup task '/,
      );
      expect(guest.downtime).toEqual({ kind: 'suspended', backOnline: true });
      await expectUntouched();
    });

    it('stop mode proves nothing of a container before its end, and brings the guest back', async () => {
      const { end, guest } = await makeBackup(node, 'contract-stop', { mode: 'stop' });
      expect(end).toMatchObject({ end: { kind: 'ok' } });
      expect(guest.mode).toBe('stop');
      expect(guest.proof === null).toBe(node.guest.kind === 'lxc');
      expect(guest.downtime.kind).toBe('stopped');
      expect(guest.downtime.backOnline).toBe(true);
      await expectUntouched();
    });

    /** Two jobs of which the first still ran when the second had spoken: tried until two really met. */
    const startTwo = async (): Promise<{ first: Upid; second: Upid }> => {
      for (let attempt = 1; attempt <= 5; attempt += 1) {
        const first = await startBackup(node, 'contract-first', { mode: 'stop' });
        await waitUntil('the first job has begun', async () => (await node.pve.tasks.log(first)).length > 0);
        const second = await startBackup(node, 'contract-second', { lockwaitMinutes: 0 });
        await waitUntil('the second job has spoken', async () => (await node.pve.tasks.log(second)).length > 0);
        if ((await node.pve.tasks.status(first)).end === null) return { first, second };
        await Promise.all([endOf(first), endOf(second)]);
      }
      throw new Error('five times the first job was over before the second had begun');
    };

    it('a second job that may not wait fails at once and locks nothing', async () => {
      const { first, second } = await startTwo();
      const [won, lost] = await Promise.all([endOf(first), endOf(second)]);
      expect(lost.end).toMatchObject({ kind: 'failed', died: true, reason: 'unexpected status' });
      expect(lost.log).toEqual(["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"]);
      expect(won.end.kind).toBe('ok');
      await expectUntouched();
    });

    it('a job that is ended leaves the guest running and unlocked', async () => {
      const upid = await startBackup(node, 'contract-ended');
      await node.pve.tasks.stop(upid);
      const { end } = await endOf(upid);
      // A job this short may have been done before it was told to end.
      expect(end).toMatchObject(
        end.kind === 'ok'
          ? {}
          : { reason: expect.stringMatching(/^(?:job errors|unexpected status|.*interrupted by signal.*)$/) },
      );
      await waitUntil('the guest is unlocked', async () => (await node.pve.guests.status(node.guest)).lock === null);
      await expectUntouched();
    });

    it('a guest that is not there fails in the task, not in the call', async () => {
      const vmid = 999_999 as typeof node.guest.vmid;
      const answer = await node.pve.vzdump.start({
        vmid,
        storage: node.storage,
        mode: 'snapshot',
        mark: 'felhom/1 contract-nobody pending',
      });
      if (answer.kind !== 'started') return expect(answer.kind).toBe('refused');
      expect((await endOf(answer.upid)).end.kind).toBe('failed');
    });

    it('is refused for a storage that is not there, in the call or in the task', async () => {
      const { vmid } = node.guest;
      const answer = await node.pve.vzdump.start({
        vmid,
        storage: 'no-such-storage',
        mode: 'snapshot',
        mark: 'felhom/1 contract-nowhere pending',
      });
      if (answer.kind !== 'started') return expect(answer.kind).toBe('refused');
      expect((await endOf(answer.upid)).end.kind).toBe('failed');
      await expectUntouched();
    });
  });
}
