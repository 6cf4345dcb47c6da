import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReconcileNode } from 'felhom-agent/reconcile/ports.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Cluster, type ClusterNode, fullReadMs, openCluster } from './cluster-rig.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await openCluster();
});
afterEach(async () => await cluster.close());

const coresOf = ({ sim }: ClusterNode, vmid: number): unknown => sim.guests.get(vmid)?.config['cores'];
const outcomes = (report: { guests: readonly { vmid: number; outcome: string }[] }): string[] =>
  report.guests.map(({ vmid, outcome }) => `${vmid} ${outcome}`);
/** As a person does it in the interface. */
const setCores = ({ sim }: ClusterNode, vmid: number, cores: number): void =>
  sim.guests.update(vmid, (guest) => {
    guest.config['cores'] = cores;
  });

describe('two agents that read the same folder', () => {
  it('each act on the guests of their own node, and name the node that has the others', async () => {
    const { one, two, declare } = cluster;
    for (const vmid of [101, 102, 103]) await declare(vmid, { cores: 4 });
    const [first, second] = await Promise.all([one.pass(), two.pass()]);
    expect(outcomes(first)).toEqual(['101 applied', '102 elsewhere', '103 applied']);
    expect(outcomes(second)).toEqual(['101 elsewhere', '102 applied', '103 elsewhere']);
    expect(first.guests[1]?.reason).toContain('pve2');
    expect([(await one.done()).toSorted(), await two.done()]).toEqual([
      ['101 configure done', '103 configure done'],
      ['102 configure done'],
    ]);
    expect([coresOf(one, 101), coresOf(two, 102), coresOf(one, 103)]).toEqual([4, 4, 4]);
  });

  it('write nothing into the filesystem of the cluster', async () => {
    const { one, two, declare, pve } = cluster;
    for (const vmid of [101, 102]) await declare(vmid, { cores: 4, state: 'stopped' });
    const folders = [join(pve, 'felhom'), join(pve, 'felhom', 'guests.d')];
    const files = async (): Promise<string[]> => {
      const found = await Promise.all(
        folders.map(async (folder) => (await readdir(folder)).map((name) => join(folder, name))),
      );
      const paths = [...folders, ...found.flat()].toSorted();
      return await Promise.all(
        paths.map(async (path) => {
          const { mode, mtimeMs, ino } = await stat(path);
          return `${path} ${mode.toString(8)} ${mtimeMs} ${ino}`;
        }),
      );
    };
    const before = [await files(), (await readdir(pve)).toSorted()];
    await Promise.all([one.pass(), two.pass()]);
    await Promise.all([one.pass(), two.pass()]);
    expect([await files(), (await readdir(pve)).toSorted()]).toEqual(before);
  });
});

describe('a guest that migrates', () => {
  it("becomes the other agent's, which brings it to what is declared by then", async () => {
    const { one, two, declare, migrate } = cluster;
    await declare(101, { cores: 4, state: 'running' });
    await Promise.all([one.pass(), two.pass()]);
    await migrate(101, one, two);
    await declare(101, { cores: 6, state: 'running' });
    const [first, second] = await Promise.all([one.pass(), two.pass()]);
    expect([outcomes(first), outcomes(second)]).toEqual([['101 elsewhere'], ['101 applied']]);
    expect(coresOf(two, 101)).toBe(6);
    expect([await one.done(), await two.done()]).toEqual([['101 configure done'], ['101 configure done']]);
  });

  /** The node, with the guest taken away from under the agent just before its `nth` call of that name. */
  const takingAway =
    (name: 'pending' | 'setConfig' | 'shutdown', nth: number) =>
    (pve: ReconcileNode): ReconcileNode => {
      let calls = 0;
      const before =
        <A extends readonly unknown[], R>(real: (...args: A) => Promise<R>) =>
        async (...args: A): Promise<R> => {
          calls += 1;
          if (calls === nth) await cluster.migrate(101, cluster.one, cluster.two);
          return await real(...args);
        };
      const { guests } = pve;
      return { ...pve, guests: { ...guests, [name]: before<unknown[], unknown>(guests[name] as never) } };
    };

  it.each([
    ['before its configuration is read', takingAway('pending', 1), { cores: 4 }],
    ['between the plan and the look under the lane', takingAway('pending', 2), { cores: 4 }],
    ['between the look and the write', takingAway('setConfig', 1), { cores: 4 }],
    ['between the look and the shutdown', takingAway('shutdown', 1), { state: 'stopped' }],
  ])('%s is left to the other agent, and nothing is done twice', async (_when, meddle, desired) => {
    const { one, two, declare } = cluster;
    await declare(101, desired);
    const first = await one.pass(meddle);
    expect(first.outcome).not.toBe('failed');
    expect(first.guests.map(({ outcome }) => outcome)).not.toContain('applied');
    expect(two.sim.guests.get(101)).toMatchObject({ running: true, config: { cores: 2 } });
    expect(outcomes(await two.pass())).toEqual(['101 applied']);
    expect(outcomes(await one.pass())).toEqual(['101 elsewhere']);
    expect(two.sim.guests.get(101)).toMatchObject('state' in desired ? { running: false } : { config: { cores: 4 } });
    expect([...(await one.done()), ...(await two.done())].filter((line) => line.endsWith(' done'))).toHaveLength(1);
  });

  it('back and forth while both agents look at it is changed once for each change that is declared', async () => {
    const { one, two, declare, migrate } = cluster;
    await declare(101, { cores: 2 });
    let [here, there] = [one, two];
    for (let cores = 3; cores <= 8; cores += 1) {
      await declare(101, { cores });
      const moving = migrate(101, here, there);
      await Promise.all([one.pass(), two.pass(), moving]);
      [here, there] = [there, here];
      await Promise.all([one.pass(), two.pass()]);
      expect(coresOf(here, 101)).toBe(cores);
    }
    expect([...(await one.done()), ...(await two.done())].filter((line) => line === '101 configure done')).toHaveLength(
      6,
    );
  });
});

describe('the version list', () => {
  it('saves the reads of what has not changed, and of nothing else', async () => {
    const { one, declare } = cluster;
    for (const vmid of [101, 103]) await declare(vmid, { cores: 2, state: 'running' });
    expect((await one.pass()).reads).toEqual([101, 103]);
    expect((await one.pass()).reads).toEqual([]);
    setCores(one, 103, 7);
    const repaired = await one.pass();
    expect(outcomes(repaired)).toEqual(['101 in_sync', '103 applied']);
    expect(new Set(repaired.reads)).toEqual(new Set([103]));
    expect((await one.pass()).reads).toEqual([103]);
    expect((await one.pass()).reads).toEqual([]);
    await declare(101, { cores: 3, state: 'running' });
    expect(outcomes(await one.pass())).toEqual(['101 applied', '103 in_sync']);
  });

  it('does not keep the run state from being looked at', async () => {
    const { one, declare } = cluster;
    await declare(101, { cores: 2, state: 'running' });
    await one.pass();
    one.sim.guests.update(101, (guest) => {
      guest.running = false;
    });
    expect(outcomes(await one.pass())).toEqual(['101 applied']);
    expect(one.sim.guests.get(101)?.running).toBe(true);
  });

  it('that stands still hides drift no longer than the time of a full read', async () => {
    const { one, declare, wait } = cluster;
    await declare(101, { cores: 2 });
    await one.pass();
    one.sim.cluster?.freezeList(true);
    setCores(one, 101, 7);
    wait(fullReadMs - 1);
    expect(await one.pass()).toMatchObject({ outcome: 'in_sync', reads: [] });
    wait(1);
    expect(outcomes(await one.pass())).toEqual(['101 applied']);
    expect(coresOf(one, 101)).toBe(2);
  });

  it('whose counters began anew and came to the same number hides nothing', async () => {
    const { one, declare } = cluster;
    await declare(101, { cores: 2 });
    one.sim.cluster?.restart();
    await one.pass();
    expect((await one.pass()).reads).toEqual([]);
    setCores(one, 101, 7);
    one.sim.cluster?.restart();
    expect(outcomes(await one.pass())).toEqual(['101 applied']);
  });

  it('of a guest that left and came back is not believed from before', async () => {
    const { one, two, declare, migrate } = cluster;
    await declare(101, { cores: 2 });
    await one.pass();
    await migrate(101, one, two);
    await one.pass();
    await migrate(101, two, one);
    expect((await one.pass()).reads).toEqual([101]);
  });
});
