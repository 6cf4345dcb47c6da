import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openWorld, type World } from '../testing/world.ts';

const open: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

interface Cluster {
  folder: string;
  one: World;
  two: World;
  list(): { version: number; ids?: Record<string, { node: string; type: string; version: number }> };
  start(): number;
}

/** Two nodes: guests 101 (a container) and 103 (a VM) on pve1, 102 on pve2. */
async function openPair(): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'pve-sim-cluster-'));
  open.push(() => rmSync(folder, { recursive: true, force: true }));
  const guest = (vmid: number, kind: 'lxc' | 'qemu' = 'lxc') => {
    mkdirSync(join(folder, String(vmid)));
    return { vmid, kind, dir: join(folder, String(vmid)) };
  };
  const node = async (name: string, guests: ReturnType<typeof guest>[]): Promise<World> => {
    const world = await openWorld({ node: name, cluster: join(folder, 'pve'), guests, spareWorkers: 0 });
    open.push(() => world.close());
    return world;
  };
  const read = (name: string) => JSON.parse(readFileSync(join(folder, 'pve', name), 'utf8'));
  return {
    folder,
    one: await node('pve1', [guest(101), guest(103, 'qemu')]),
    two: await node('pve2', [guest(102)]),
    list: () => read('.vmlist'),
    start: () => read('.version').starttime,
  };
}

const vmidsOf = async (world: World): Promise<number[]> =>
  (await world.data<{ vmid: number }[]>('GET', '/nodes/localhost/lxc')).map(({ vmid }) => vmid);

describe('two nodes of a cluster', () => {
  it('each list their own guests; the resources, the nodes and the token are those of both', async () => {
    const { one, two } = await openPair();
    expect([await vmidsOf(one), await vmidsOf(two)]).toEqual([[101], [102]]);
    const resources = await two.data<{ vmid: number; node: string }[]>('GET', '/cluster/resources', { type: 'vm' });
    expect(resources.map(({ vmid, node }) => `${vmid}@${node}`)).toEqual(['101@pve1', '103@pve1', '102@pve2']);
    expect((await one.data<{ node: string }[]>('GET', '/nodes')).map(({ node }) => node)).toEqual(['pve1', 'pve2']);
    expect(one.sim.token).toBe(two.sim.token);
  });

  it('refuse a VMID that is taken anywhere', async () => {
    const { two } = await openPair();
    expect(await two.data('GET', '/cluster/nextid')).toBe('100');
    const restore = { vmid: 101, ostemplate: 'bk:backup/x', restore: 1 };
    expect((await two.api('POST', '/nodes/pve2/lxc', restore)).reason).toBe("CT 101 already exists on node 'pve1'");
  });

  it("answer OK and start no task for another node's guest", async () => {
    const { one } = await openPair();
    expect(await one.vzdump({ vmid: 102, storage: 'bk' })).toBe('OK');
    expect(await one.data('GET', '/nodes/pve1/tasks', { source: 'all' })).toEqual([]);
  });
});

describe('a migration', () => {
  it('moves a container that runs, through a restart, with its configuration', async () => {
    const { one, two, list } = await openPair();
    await one.data('PUT', '/nodes/pve1/lxc/101/config', { cores: 3 });
    const upid = await one.data<string>('POST', '/nodes/pve1/lxc/101/migrate', { target: 'pve2', restart: 1 });
    expect(upid).toContain(':vzmigrate:101:');
    expect(await one.ended(upid)).toBe('OK');
    expect([await vmidsOf(one), await vmidsOf(two)]).toEqual([[], [101, 102]]);
    expect(await two.data('GET', '/nodes/pve2/lxc/101/config')).toMatchObject({ cores: 3 });
    expect(await two.data('GET', '/nodes/pve2/lxc/101/status/current')).toMatchObject({ status: 'running' });
    expect((await one.api('GET', '/nodes/pve1/lxc/101/config')).reason).toBe(
      "Configuration file 'nodes/pve1/lxc/101.conf' does not exist",
    );
    expect(list().ids?.['101']).toMatchObject({ node: 'pve2', type: 'lxc' });
  });

  it('moves a VM while it runs', async () => {
    const { one, two } = await openPair();
    const upid = await one.data<string>('POST', '/nodes/pve1/qemu/103/migrate', { target: 'pve2', online: 1 });
    expect(await one.ended(upid)).toBe('OK');
    expect(await two.data('GET', '/nodes/pve2/qemu/103/status/current')).toMatchObject({ status: 'running' });
  });

  it('is refused without a way for what runs, to itself, and to a node that is none', async () => {
    const { one } = await openPair();
    const to = (params: Record<string, string | number>, path = 'lxc/101') =>
      one.api('POST', `/nodes/pve1/${path}/migrate`, params);
    expect((await to({ target: 'pve2' })).reason).toBe("can't migrate running container without --online or --restart");
    expect((await to({ target: 'pve2' }, 'qemu/103')).reason).toBe("can't migrate running VM without --online");
    expect((await to({ target: 'pve1', restart: 1 })).json?.errors).toEqual({ target: 'target is local node.' });
    expect((await to({ target: 'pve9', restart: 1 })).reason).toBe("no such cluster node 'pve9'");
  });

  it('outlives a restart of both nodes: nobody makes the guest anew where it was', async () => {
    const { one, two } = await openPair();
    await one.ended(await one.data<string>('POST', '/nodes/pve1/lxc/101/migrate', { target: 'pve2', restart: 1 }));
    await one.restart();
    await two.restart();
    expect([await vmidsOf(one), await vmidsOf(two)]).toEqual([[], [101, 102]]);
  });
});

describe('the version list', () => {
  it('moves for the guest whose configuration is written, whatever writes it, and for no other', async () => {
    const { one, list } = await openPair();
    const before = list();
    await one.data('PUT', '/nodes/pve1/lxc/101/config', { memory: 1024 });
    const after = list();
    expect(after.ids?.['101']?.version).toBeGreaterThan(before.ids?.['101']?.version ?? 0);
    expect(after.ids?.['103']).toEqual(before.ids?.['103']);
    await one.control('POST', '/sim/guests/103', { lock: 'backup' });
    expect(list().ids?.['103']?.version).toBeGreaterThan(after.ids?.['101']?.version ?? 0);
  });

  it('does not move for a start or a stop', async () => {
    const { one, list } = await openPair();
    const before = list();
    await one.ended(await one.data<string>('POST', '/nodes/pve1/lxc/101/status/stop'));
    await one.ended(await one.data<string>('POST', '/nodes/pve1/lxc/101/status/start'));
    expect(list()).toEqual(before);
  });

  it('hands out its versions anew when the filesystem restarts, and the start time says so', async () => {
    const { one, list, start } = await openPair();
    for (const cores of [3, 4, 5]) await one.data('PUT', '/nodes/pve1/lxc/101/config', { cores });
    const before = start();
    await one.control('POST', '/sim/cluster', { restart: true });
    expect(list().ids?.['101']?.version).toBe(1);
    expect(start()).toBeGreaterThan(before);
  });

  it('lies when it is told to', async () => {
    const { one, list } = await openPair();
    await one.control('POST', '/sim/cluster', { frozen: true });
    const before = list();
    await one.data('PUT', '/nodes/pve1/lxc/101/config', { cores: 7 });
    expect(list()).toEqual(before);
    await one.control('POST', '/sim/cluster', { frozen: false });
    await one.data('PUT', '/nodes/pve1/lxc/101/config', { cores: 8 });
    expect(list()).not.toEqual(before);
  });
});
