import { systemClock } from '@felhom/kernel/clock.ts';
import { followTask } from '@felhom/proxmox/follow-task.ts';
import type { Upid } from '@felhom/proxmox/upid.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContractNode, ContractTarget } from '../targets.ts';

export function describeGuests(target: ContractTarget): void {
  describe('guests', () => {
    let node: ContractNode;
    beforeAll(async () => {
      node = await target.open();
    });
    afterAll(() => node.close());

    const endOf = async (upid: Upid) => {
      const end = await followTask({ tasks: node.pve.tasks, clock: systemClock }, upid, {
        signal: AbortSignal.timeout(55_000),
      });
      return end.kind === 'ended' ? { kind: end.end.kind, reason: end.reason } : end;
    };

    it('says the same of a guest in the list and in its status', async () => {
      const listed = (await node.pve.guests.list()).find(({ vmid }) => vmid === node.guest.vmid);
      const status = await node.pve.guests.status(node.guest);
      expect(listed).toMatchObject({ ...node.guest, running: true, lock: null });
      expect(status).toMatchObject({
        ...node.guest,
        running: true,
        lock: null,
        name: listed?.name,
        haManaged: expect.any(Boolean),
      });
      expect(status.pid).toBeGreaterThan(0);
    });

    it('has a guest under its own kind only', async () => {
      const other = { vmid: node.guest.vmid, kind: node.guest.kind === 'lxc' ? ('qemu' as const) : ('lxc' as const) };
      await expect(node.pve.guests.config(other)).rejects.toMatchObject({ fault: { kind: 'not-found' } });
    });

    it('takes a write with the present digest, and refuses one with an older', async () => {
      const before = await node.pve.guests.config(node.guest);
      expect(before.digest).toMatch(/^[0-9a-f]{40}$/);
      await node.pve.guests.setConfig(node.guest, {
        digest: before.digest,
        set: { description: 'felhom contract\nline two' },
      });
      const after = await node.pve.guests.config(node.guest, { current: true });
      expect(after.digest).not.toBe(before.digest);
      // A container's description reads back with one line break at its end, a VM's without any.
      expect(after.options['description']).toBe(`felhom contract\nline two${node.guest.kind === 'lxc' ? '\n' : ''}`);
      const stale = node.pve.guests.setConfig(node.guest, { digest: before.digest, set: { description: 'stale' } });
      await expect(stale).rejects.toMatchObject({ fault: { kind: 'stale-digest' }, status: 500 });
      const old = before.options['description'];
      const back = old === undefined ? { remove: ['description'] } : { set: { description: old } };
      await node.pve.guests.setConfig(node.guest, { digest: after.digest, ...back });
      expect((await node.pve.guests.config(node.guest)).options['description']).toBe(old);
    });

    it('refuses an unknown option by name', async () => {
      const { digest } = await node.pve.guests.config(node.guest);
      const wrong = node.pve.guests.setConfig(node.guest, { digest, set: { nonsense: '1' } });
      await expect(wrong).rejects.toMatchObject({
        fault: { kind: 'parameter', errors: { nonsense: expect.any(String) } },
      });
    });

    it('has an opinion on snapshots', async () => {
      expect(await node.pve.guests.feature(node.guest, 'snapshot')).toEqual(expect.any(Boolean));
    });

    it('does not start what runs, and says so in the call or in the task', async () => {
      const again = node.pve.guests.start(node.guest).then(endOf, (error: unknown) => error);
      const expected = expect.objectContaining({ fault: { kind: 'already-running' } });
      if (node.guest.kind === 'lxc') expect(await again).toEqual(expected);
      else
        expect([expected, { kind: 'failed', reason: expect.stringContaining('already running') }]).toContainEqual(
          await again,
        );
    });

    it('stops and starts a guest by tasks, and a container that is stopped cannot be stopped again', async () => {
      expect(await endOf(await node.pve.guests.stop(node.guest))).toMatchObject({ kind: 'ok' });
      expect(await node.pve.guests.status(node.guest)).toMatchObject({ running: false, pid: null });
      const again = node.pve.guests.stop(node.guest).then(endOf);
      if (node.guest.kind === 'lxc') await expect(again).rejects.toMatchObject({ fault: { kind: 'not-running' } });
      else expect(await again).toMatchObject({ kind: 'ok' });
      expect(await endOf(await node.pve.guests.start(node.guest))).toMatchObject({ kind: 'ok' });
      expect(await node.pve.guests.status(node.guest)).toMatchObject({ running: true });
    });
  });
}
