import * as fc from 'fast-check';
import { managedFields } from 'felhom-agent/reconcile/fields.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyFields, planOf } from '../../reconcile/apply-fields.ts';
import { anyFields } from '../../reconcile/arbitrary-fields.ts';
import type { ContractNode, ContractTarget } from '../targets.ts';

/** No false drift: what is written and read back is as declared, for every managed field, on whatever node this is. */
export function describeFields(target: ContractTarget): void {
  describe('managed fields', () => {
    let node: ContractNode;
    let before: Readonly<Record<string, string>>;
    beforeAll(async () => {
      node = await target.open();
      before = (await node.pve.guests.config(node.guest)).options;
    });
    afterAll(async () => {
      await restore(node, before);
      await node.close();
    });

    it('are in sync once the plan is applied, whatever valid values are declared', async () => {
      const memory = Number((before['memory'] ?? '512').replace('current=', ''));
      const values = anyFields({
        kind: node.guest.kind,
        memoryFrom: memory,
        memoryTo: memory + 512,
        // The guest goes on with its work meanwhile.
        cpulimitFrom: 0.5,
      });
      await fc.assert(
        fc.asyncProperty(values, async (desired) => {
          await applyFields(node.pve, node.guest, await planOf(node.pve, node.guest, desired));
          expect(await planOf(node.pve, node.guest, desired)).toMatchObject({ standing: 'in_sync', actions: [] });
        }),
        { numRuns: 15 },
      );
    });

    it('drift when a list became shorter', async () => {
      const tags = { tags: ['felhom-a', 'felhom-b', 'felhom-c'] };
      await applyFields(node.pve, node.guest, await planOf(node.pve, node.guest, tags));
      const shorter = await planOf(node.pve, node.guest, { tags: ['felhom-c', 'felhom-a'] });
      expect(await applyFields(node.pve, node.guest, shorter)).toMatchObject([
        { field: 'tags', from: 'felhom-a;felhom-b;felhom-c', to: 'felhom-a;felhom-c' },
      ]);
      const none = await planOf(node.pve, node.guest, { tags: [] });
      expect(await applyFields(node.pve, node.guest, none)).toMatchObject([{ field: 'tags', to: null }]);
      expect(await planOf(node.pve, node.guest, { tags: [] })).toMatchObject({ standing: 'in_sync' });
    });
  });
}

/** Every managed option as it was before. */
async function restore({ pve, guest }: ContractNode, before: Readonly<Record<string, string>>): Promise<void> {
  const { digest, options } = await pve.guests.config(guest);
  const managed = managedFields.flatMap((field) => field.option[guest.kind] ?? []);
  const set = managed.filter((option) => before[option] !== undefined && before[option] !== options[option]);
  const remove = managed.filter((option) => before[option] === undefined && options[option] !== undefined);
  if (set.length + remove.length === 0) return;
  await pve.guests.setConfig(guest, {
    digest,
    set: Object.fromEntries(set.map((option) => [option, before[option] ?? ''])),
    remove,
  });
}
