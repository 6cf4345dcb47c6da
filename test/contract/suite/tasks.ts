import { isPveFault } from '@felhom/proxmox/errors.ts';
import { findLostStart } from '@felhom/proxmox/lost-start.ts';
import { formatUpid, parseUpid, type Upid } from '@felhom/proxmox/upid.ts';
import { markOf } from '@felhom/proxmox/vzdump.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContractNode, ContractTarget } from '../targets.ts';
import { deleteBackups, type MadeBackup, makeBackup } from './backups.ts';

const jobId = 'contract-tasks';

export function describeTasks(target: ContractTarget): void {
  describe('tasks', () => {
    let node: ContractNode;
    let made: MadeBackup;
    let sinceSeconds: number;
    beforeAll(async () => {
      node = await target.open();
      sinceSeconds = (await node.pve.nodes.clockSeconds()) ?? 0;
      made = await makeBackup(node, jobId);
    });
    afterAll(async () => {
      await deleteBackups(node);
      await node.close();
    });

    it('a UPID says what its task is', async () => {
      const status = await node.pve.tasks.status(made.upid);
      const parts = parseUpid(made.upid);
      expect(status).toMatchObject({
        upid: made.upid,
        type: 'vzdump',
        vmid: node.guest.vmid,
        startSeconds: parts.startSeconds,
      });
      expect(status.user).toBe(parts.user);
      expect(node.token.startsWith(`${parts.user}=`)).toBe(true);
      expect(status.end?.kind).toBe('ok');
    });

    it('a log is asked for from any line on, and its lines count from 1', async () => {
      const all = await node.pve.tasks.log(made.upid);
      expect(all.map(({ n }) => n)).toEqual(all.map((_, at) => at + 1));
      expect(await node.pve.tasks.log(made.upid, { from: 4, limit: 2 })).toEqual(all.slice(3, 5));
      expect(await node.pve.tasks.log(made.upid, { from: all.length + 1 })).toEqual([]);
      expect(all.at(-1)?.text).toMatch(/^TASK (?:OK|WARNINGS: \d+)$/);
      const fifty = await node.api({ path: `/nodes/${node.pve.node}/tasks/${made.upid}/log` });
      expect(JSON.parse(fifty.body.toString())).toMatchObject({ total: all.length });
    });

    it('a UPID may stand raw in the path, and the node may be called localhost', async () => {
      expect((await node.api({ path: `/nodes/${node.pve.node}/tasks/${made.upid}/status` })).status).toBe(200);
      expect((await node.api({ path: `/nodes/localhost/tasks/${encodeURIComponent(made.upid)}/status` })).status).toBe(
        200,
      );
    });

    it('a task that never was has no status, and one line of log', async () => {
      const never = formatUpid({ ...parseUpid(made.upid), pid: 1, pstart: 1, startSeconds: 1 });
      await expect(node.pve.tasks.status(never)).rejects.toMatchObject({ fault: { kind: 'not-found' }, status: 400 });
      expect(await node.pve.tasks.log(never)).toEqual([
        { n: 1, text: 'unable to open file - No such file or directory' },
      ]);
    });

    it('text that is no UPID is a wrong parameter', async () => {
      const answer = await node.api({ path: `/nodes/${node.pve.node}/tasks/UPID:x:bad/status` });
      expect([answer.status, answer.reason]).toEqual([400, 'Parameter verification failed.']);
      expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: { upid: 'unable to parse worker upid' } });
    });

    it('a finished task is listed by guest, type and time', async () => {
      const { vmid } = node.guest;
      const has = async (filter: Parameters<typeof node.pve.tasks.list>[0]): Promise<boolean> =>
        (await node.pve.tasks.list(filter)).some(({ upid }) => upid === made.upid);
      expect(await has({ vmid, type: 'vzdump', sinceSeconds, source: 'all' })).toBe(true);
      expect(await has({ vmid, type: 'vzdump', source: 'archive' })).toBe(true);
      expect(await has({ vmid, type: 'vzstart' })).toBe(false);
      expect(await has({ vmid: (vmid + 1) as typeof vmid })).toBe(false);
      expect(await has({ sinceSeconds: parseUpid(made.upid).startSeconds + 1 })).toBe(false);
      const listed = (await node.pve.tasks.list({ vmid, type: 'vzdump', sinceSeconds })).find(
        ({ upid }) => upid === made.upid,
      );
      expect(listed?.end?.kind).toBe('ok');
      expect(listed?.endSeconds).toBeGreaterThanOrEqual(listed?.startSeconds ?? Number.POSITIVE_INFINITY);
    });

    it('ending a task that has ended changes nothing', async () => {
      await node.pve.tasks.stop(made.upid);
      expect((await node.pve.tasks.status(made.upid)).end?.kind).toBe('ok');
    });

    it('a start whose answer was lost is found by its mark, and by no other', async () => {
      const question = { vmid: node.guest.vmid, sinceSeconds, intentAgeMs: 60_000 };
      expect(await findLostStart(node.pve.tasks, { ...question, mark: markOf(jobId) })).toEqual({
        kind: 'found',
        upid: made.upid,
        ended: true,
      });
      expect(await findLostStart(node.pve.tasks, { ...question, mark: markOf('contract-task') })).toEqual({
        kind: 'not-started',
      });
      const early = { ...question, mark: markOf('contract-never'), intentAgeMs: 1_000 };
      expect((await findLostStart(node.pve.tasks, early)).kind).toBe('undecided');
    });

    it('a task of another node is looked for there', async () => {
      const elsewhere = made.upid.replace(`:${node.pve.node}:`, ':felhom-no-such-node:') as Upid;
      const error: unknown = await node.pve.tasks.status(elsewhere).catch((reason: unknown) => reason);
      expect(isPveFault(error, 'not-found', 'failed', 'transport')).toBe(true);
    });
  });
}
