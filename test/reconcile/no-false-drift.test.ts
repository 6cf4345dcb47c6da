import { parseVmid } from '@felhom/proxmox/upid.ts';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyFields, planOf } from './apply-fields.ts';
import { anyFields } from './arbitrary-fields.ts';
import { openPlanning, type Planning } from './planning.ts';

let host: Planning;
beforeAll(async () => {
  host = await openPlanning([
    { vmid: 101 },
    { vmid: 102, running: false },
    { vmid: 201, kind: 'qemu' },
    { vmid: 202, kind: 'qemu', running: false },
  ]);
});
afterAll(() => host.close());

describe.each([
  ['a running container', 'lxc', 101],
  ['a stopped container', 'lxc', 102],
  ['a running VM', 'qemu', 201],
  ['a stopped VM', 'qemu', 202],
] as const)('%s', (_, kind, number) => {
  const guest = { vmid: parseVmid(number), kind };

  it('is as declared once the plan is applied, whatever valid values are declared, and only what differed was written', async () => {
    await fc.assert(
      fc.asyncProperty(anyFields({ kind, memoryFrom: 64, memoryTo: 65_536 }), async (desired) => {
        const before = (await host.pve.guests.config(guest)).options;
        const plan = await planOf(host.pve, guest, desired);
        const written = await applyFields(host.pve, guest, plan);
        const again = await planOf(host.pve, guest, desired);
        expect(again).toMatchObject({ standing: 'in_sync', actions: [] });
        const options = new Set(written.map(({ write }) => write.set?.[0] ?? write.remove));
        const after = (await host.pve.guests.config(guest)).options;
        const changed = [...Object.keys(before), ...Object.keys(after)].filter((key) => before[key] !== after[key]);
        expect([...new Set(changed)].filter((key) => key !== 'digest' && !options.has(key))).toEqual([]);
        for (const option of options) expect(changed).toContain(option);
      }),
      { numRuns: 40 },
    );
  });
});
