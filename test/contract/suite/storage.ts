import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContractNode, ContractTarget } from '../targets.ts';
import { deleteBackups, type MadeBackup, makeBackup } from './backups.ts';

export function describeStorage(target: ContractTarget): void {
  describe('storages', () => {
    let node: ContractNode;
    let made: MadeBackup;
    let volid: string;
    beforeAll(async () => {
      node = await target.open();
      made = await makeBackup(node, 'contract-storage');
      volid = made.guest.volid ?? '';
    });
    afterAll(async () => {
      await deleteBackups(node);
      await node.close();
    });

    const listed = async () =>
      (await node.pve.storage.backups(node.storage, { vmid: node.guest.vmid })).find((item) => item.volid === volid);

    it('says of a storage what it is and what room it has', async () => {
      const status = await node.pve.storage.status(node.storage);
      expect(status).toMatchObject({ name: node.storage, active: true, enabled: true });
      expect(status.content).toContain('backup');
      expect(status.availableBytes).toBeGreaterThan(0);
      expect(status.totalBytes).toBeGreaterThanOrEqual(status.availableBytes);
      const same = (await node.pve.storage.list()).find(({ name }) => name === node.storage);
      expect(same).toMatchObject({ type: status.type, active: true });
    });

    it('lists a backup under its guest, with the second in which it began', async () => {
      const item = await listed();
      expect(item).toMatchObject({ ...node.guest, storage: node.storage, protected: false, verification: null });
      const status = await node.pve.tasks.status(made.upid);
      expect(Math.abs((item?.createdSeconds ?? 0) - status.startSeconds)).toBeLessThanOrEqual(60);
      const others = await node.pve.storage.backups(node.storage, { vmid: 999_999 as typeof node.guest.vmid });
      expect(others).toEqual([]);
    });

    it('keeps whole notes with the backup, and their first line in the list', async () => {
      const notes = 'felhom/1 contract-storage app-consistent full\nzweite Zeile: ünï & =\n\nlast';
      await node.pve.storage.setNotes(volid, notes);
      expect(await node.pve.storage.backup(volid)).toMatchObject({ volid, notes, protected: false });
      expect((await listed())?.notesFirstLine).toBe('felhom/1 contract-storage app-consistent full');
    });

    it('protects a backup and lets go of it', async () => {
      await node.pve.storage.setProtected(volid, true);
      expect((await node.pve.storage.backup(volid)).protected).toBe(true);
      expect((await listed())?.protected).toBe(true);
      await node.pve.storage.setProtected(volid, false);
      expect((await listed())?.protected).toBe(false);
    });

    it('says of a backup that is not there that it is not', async () => {
      const missing = volid.replace(/20\d\d/, '1999');
      await expect(node.pve.storage.backup(missing)).rejects.toMatchObject({ fault: { kind: 'not-found' } });
    });
  });
}
