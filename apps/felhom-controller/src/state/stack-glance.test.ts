import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { upgradeMachineOf } from '../adapters/upgrade-memory.ts';
import { alertStore } from '../alerts/alert-store.ts';
import { metricsText } from '../commands/status-metrics.ts';
import type { UpgradeNotes } from '../upgrade/memory.ts';
import { glanceAtAlerts, glanceAtSnapshots, glanceAtUpgrades } from './stack-glance.ts';

/* What `status` reads without schemas is written here by those who have them: the two must not drift apart. */

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-glance-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const notes: UpgradeNotes = {
  run_id: 'run-1',
  changes: [],
  gates: [],
  rungs: [{ name: 'health', result: 'failed', detail: 'app is unhealthy' }],
  snapshot_id: null,
  not_rolled_back: [],
  downtime_ms: null,
  last_success_at: '2026-11-20T01:00:00.000Z',
  waits_for_person: true,
};

const raised = {
  id: 'run-1',
  stack: 'shop',
  attempted: 'app=app:2',
  last_good: 'app=app:1',
  recovered: true,
  at: '2026-11-20T01:00:00.000Z',
  message: 'shop was rolled back',
  hint: 'felhom-controller upgrade allow shop',
};

async function upgradeOf(stack: string): Promise<void> {
  const machine = upgradeMachineOf(folder, systemClock)(stack);
  await machine.begin('app:2', notes);
  await machine.step('checking');
  await machine.step('failed', { lastError: 'no room' });
}

describe('a glance', () => {
  it('at nothing is empty', () => {
    expect([glanceAtUpgrades(folder), glanceAtAlerts(folder), glanceAtSnapshots(join(folder, 'snapshots'))]).toEqual([
      [],
      [],
      [],
    ]);
  });

  it('at upgrades tells phase, attempts, last error and each rung', async () => {
    await upgradeOf('shop');
    await upgradeOf('shop');
    expect(glanceAtUpgrades(folder)).toMatchObject([
      {
        stack: 'shop',
        phase: 'failed',
        target: 'app:2',
        attempts: 2,
        failures: 0,
        last_error: 'no room',
        last_success_at: '2026-11-20T01:00:00.000Z',
        waits_for_person: true,
        rungs: [{ name: 'health', result: 'failed', detail: 'app is unhealthy' }],
      },
    ]);
  });

  it('at alerts leaves out those that somebody has acknowledged', async () => {
    const store = alertStore({ stateDir: folder });
    await store.raise(raised);
    await store.raise({ ...raised, id: 'run-2', at: '2026-11-21T01:00:00.000Z' });
    expect(glanceAtAlerts(folder).map(({ id }) => id)).toEqual(['run-2', 'run-1']);
    await store.acknowledge('run-2', '2026-11-22T01:00:00.000Z');
    expect(glanceAtAlerts(folder).map(({ id }) => id)).toEqual(['run-1']);
  });
});

describe('the metrics', () => {
  it('tell phase, attempts, failures and last success of upgrades, age and size of snapshots', async () => {
    await upgradeOf('shop');
    const snapshots = [
      { stack: 'a"b', id: 'x', created_at: '2026-11-20T00:00:00.000Z', content_bytes: 1_024, count: 3 },
    ];
    const status = { upgrades: glanceAtUpgrades(folder), alerts: [], owed: [], last_backup: null };
    const text = metricsText(status, snapshots, Date.parse('2026-11-20T01:00:00.000Z'));
    expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([
      'felhom_apps_owed 0',
      'felhom_alerts_open 0',
      'felhom_upgrade_phase{stack="shop",phase="failed"} 1',
      'felhom_upgrade_attempts{stack="shop"} 1',
      'felhom_upgrade_check_failures{stack="shop"} 0',
      'felhom_upgrade_last_success_timestamp_seconds{stack="shop"} 1795136400',
      'felhom_snapshot_age_seconds{stack="a\\"b"} 3600',
      'felhom_snapshot_size_bytes{stack="a\\"b"} 1024',
      'felhom_snapshots{stack="a\\"b"} 3',
    ]);
  });
});
