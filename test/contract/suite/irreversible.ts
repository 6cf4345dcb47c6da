import { systemClock } from '@felhom/kernel/clock.ts';
import { followTask } from '@felhom/proxmox/follow-task.ts';
import type { Upid } from '@felhom/proxmox/upid.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContractNode, ContractTarget } from '../targets.ts';
import { deleteBackups, makeBackup } from './backups.ts';

/**
 * What cannot be taken back, as far as it is safe on any node: backups of the suite's own are deleted, and the test
 * guest, which runs, is neither overwritten nor rolled back to a snapshot that it has not.
 */
export function describeIrreversible(target: ContractTarget): void {
  describe('what cannot be taken back', () => {
    let node: ContractNode;
    let volid: string;
    beforeAll(async () => {
      node = await target.open();
      volid = (await makeBackup(node, 'contract-irreversible')).guest.volid ?? '';
    });
    afterAll(async () => {
      await deleteBackups(node);
      await node.close();
    });

    const endOf = async (upid: Upid) => {
      const end = await followTask({ tasks: node.pve.tasks, clock: systemClock }, upid, {
        signal: AbortSignal.timeout(50_000),
      });
      return end.kind === 'ended' ? end.end : end;
    };
    const isThere = async (): Promise<boolean> =>
      (await node.pve.storage.backups(node.storage, { vmid: node.guest.vmid })).some((item) => item.volid === volid);

    it('does not overwrite a guest that runs', async () => {
      const over = node.pve.irreversible.restoreOver({ guest: node.guest, volid, storage: undefined });
      const said = await over.then(endOf, (error: unknown) => error);
      // Recorded of containers: the call itself is refused.
      if (node.guest.kind === 'lxc') expect(said).toMatchObject({ status: 500, outcomeUnknown: false });
      else expect(said instanceof Error ? { kind: 'failed' } : said).toMatchObject({ kind: 'failed' });
      expect(await node.pve.guests.status(node.guest)).toMatchObject({ running: true });
    });

    it('lists the snapshots of a guest without its present state, and fails to roll back to one it has not', async () => {
      const names = (await node.pve.guests.snapshots(node.guest)).map(({ name }) => name);
      expect(names).not.toContain('current');
      const none = 'felhom_none';
      expect(names).not.toContain(none);
      const rolled = node.pve.irreversible.rollback(node.guest, none).then(endOf, (error: unknown) => error);
      const said = await rolled;
      // Either the call or the task says no.
      expect(said instanceof Error ? { kind: 'failed' } : said).toMatchObject({ kind: 'failed' });
      expect(await node.pve.guests.status(node.guest)).toMatchObject({ running: true });
    });

    it('does not delete a backup while it is protected: the task fails', async () => {
      await node.pve.storage.setProtected(volid, true);
      const upid = await node.pve.irreversible.deleteBackup(volid);
      expect(upid).toContain(`:imgdel:${node.guest.vmid}@${node.storage}:`);
      expect(await endOf(upid)).toMatchObject({ kind: 'failed', reason: expect.stringContaining('protected') });
      expect(await isThere()).toBe(true);
      await node.pve.storage.setProtected(volid, false);
    });

    it('deletes a backup by a task, and a second time by one that finds nothing to do', async () => {
      expect(await endOf(await node.pve.irreversible.deleteBackup(volid))).toMatchObject({ kind: 'ok' });
      expect(await isThere()).toBe(false);
      expect(await endOf(await node.pve.irreversible.deleteBackup(volid))).toMatchObject({ kind: 'ok' });
    });
  });
}
