import { actionJournal } from 'felhom-agent/reconcile/action-journal.ts';
import { type ActionRecord, entriesOf } from 'felhom-agent/reconcile/action-record.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import { expect, it } from 'vitest';
import { reconcileScenarios } from './reconcile-scenarios.ts';
import { livePorts, type ReconcileWorld, reconcileLimits, reconcileWorld } from './reconcile-world.ts';

/*
 * "It never started" is concluded 35 s after the intent. That is right only if the call is made just after the intent is
 * written, whatever the lock of the journal and the disk take.
 */

const lostLate = reconcileScenarios.find(({ name }) => name === 'the call to start is lost: late');

/** A pass over a journal whose first intent of a start waits so long for the lock, and so long for the disk. */
async function passOver(waits: { lockMs: number; diskMs: number }): Promise<ReconcileWorld> {
  if (lostLate === undefined) throw new Error('no such scenario');
  const world = reconcileWorld(lostLate);
  const { clock, records } = world;
  let slow = { lockMs: 0, diskMs: 0 };
  const journal = actionJournal(
    {
      refresh: async () => structuredClone(records),
      decide: async (look) => {
        const { lockMs, diskMs } = slow;
        slow = { lockMs: 0, diskMs: 0 };
        await clock.sleep(lockMs);
        const { append, answer } = look(structuredClone<readonly ActionRecord[]>(records));
        records.push(...structuredClone(append));
        await clock.sleep(diskMs);
        return answer;
      },
    },
    { nowMs: clock.nowMs, upMs: clock.monotonicMs },
  );
  const ports = livePorts(world);
  let isFirst = true;
  const begin: typeof journal.begin = async (intent) => {
    if (intent.action.kind === 'start' && isFirst) {
      slow = waits;
      isFirst = false;
    }
    return await journal.begin(intent);
  };
  const pass = runPass(
    { ...ports, journal: { ...journal, begin } },
    {
      limits: reconcileLimits,
      vmids: null,
      allowStops: null,
      allowMemoryBelowUse: false,
      lockTimeoutMs: 120_000,
      stop: new AbortController().signal,
    },
  );
  await clock.run(pass);
  await clock.pass(120_000);
  return world;
}

it('a lock that has to be waited for does not make a lost call look old: what arrives late is found, not doubled', async () => {
  const { node, records } = await passOver({ lockMs: 33_000, diskMs: 0 });
  expect(node.effects).toEqual(['setConfig 101', 'start 101']);
  expect(node.violations).toEqual([]);
  expect(entriesOf(records).map(({ end }) => end?.outcome)).toEqual(['done', 'done']);
});

it('a disk that takes long over an intent ends it without a call; the next one is called', async () => {
  const { node, records } = await passOver({ lockMs: 0, diskMs: 20_000 });
  expect(node.effects).toEqual(['setConfig 101', 'start 101']);
  expect(node.violations).toEqual([]);
  expect(entriesOf(records).map(({ end }) => [end?.outcome, end?.reason ?? ''])).toEqual([
    ['done', ''],
    ['void', 'the disk took too long: no call was made'],
    ['done', ''],
  ]);
});
