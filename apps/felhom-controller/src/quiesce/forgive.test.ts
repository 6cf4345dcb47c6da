import { expect, test } from 'vitest';
import { forgive } from './forgive.ts';
import type { Marker } from './marker.ts';
import type { OtherDebts } from './other-debts.ts';
import { toDebt } from './plan.ts';
import type { MarkerPort } from './ports.ts';
import { container } from './sample-container.ts';

/** A debt of another kind, owed to `stack`. */
function owedTo(stack: string): OtherDebts & { isOwed: () => boolean } {
  let isOwed = true;
  return {
    isOwed: () => isOwed,
    owed: async () => (isOwed ? { stack, deadlineMs: 0, engineId: null } : null),
    settle: async () => ({ started: [], owed: [], failure: null }),
    sweep: async () => undefined,
    forgive: async (asked) => {
      const isMeant = isOwed && asked === stack;
      if (isMeant) isOwed = false;
      return isMeant;
    },
  };
}

function markerOf(...projects: string[]): MarkerPort & { left: () => string[] } {
  const all = projects.map((project) => container({ project, name: `${project}-app-1` }));
  let value: Marker = {
    run_id: 'run',
    job_id: null,
    boot_id: 'boot',
    engine_id: 'engine',
    written_at_ms: 0,
    deadline_at_ms: 0,
    debts: all.map((each) => toDebt(each, all, 'run')),
    after_start: projects.map((stack) => ({ stack, service: 'app', command: 'true' })),
  };
  return {
    left: () => [...value.debts.map(({ name }) => name), ...value.after_start.map(({ stack }) => stack)],
    read: async () => ({ kind: 'present', value }),
    readNewer: async () => ({ kind: 'absent' }),
    write: async (next) => {
      value = next;
    },
    erase: async () => undefined,
    sweep: async () => undefined,
  };
}

test('a stack is forgiven everything at once: a restore, the upgrade around it, containers and commands', async () => {
  const [restore, upgrade, markers] = [owedTo('shop'), owedTo('shop'), markerOf('shop', 'wiki')];
  const forgiven = await forgive({ markers, otherDebts: [restore, upgrade] }, 'shop');
  expect(forgiven).toEqual(['shop', 'shop-app-1']);
  expect([restore.isOwed(), upgrade.isOwed()]).toEqual([false, false]);
  expect(markers.left()).toEqual(['wiki-app-1', 'wiki']);
});

test('what is owed to others alone is forgiven by their names, which are told', async () => {
  const [upgrade, markers] = [owedTo('blog'), markerOf('wiki')];
  await expect(forgive({ markers, otherDebts: [upgrade] }, 'shop')).rejects.toMatchObject({
    code: 'not_found',
    hint: expect.stringContaining('wiki, blog'),
  });
  expect(upgrade.isOwed()).toBe(true);
  expect(markers.left()).toEqual(['wiki-app-1', 'wiki']);
});
