import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { anyFields } from './arbitrary-fields.ts';
import { openPlanning, type Planning } from './planning.ts';

let host: Planning;
beforeAll(async () => {
  host = await openPlanning([{ vmid: 101 }, { vmid: 201, kind: 'qemu', running: false }]);
});
afterAll(() => host.close());

describe('what is written into the files of guests', () => {
  it('is so after one pass, by every field, and the plan is empty from then on', async () => {
    const state = fc.constantFrom('running', 'stopped');
    const bounds = { memoryFrom: 64, memoryTo: 65_536 };
    await fc.assert(
      fc.asyncProperty(
        fc.record({ state, ct: anyFields({ kind: 'lxc', ...bounds }), vm: anyFields({ kind: 'qemu', ...bounds }) }),
        async ({ state: wanted, ct, vm }) => {
          await host.declare('101.yaml', { vmid: 101, desired: { state: wanted, ...ct } });
          await host.declare('201.yaml', { vmid: 201, desired: { state: wanted, ...vm } });
          const pass = await host.run('reconcile', '--once', '--allow-stops', '2');
          expect(pass, pass.stdout + pass.stderr).toMatchObject({ exit: 0 });
          const after = await host.run('plan', '--detailed-exitcode');
          expect(after, after.stdout).toMatchObject({ exit: 0 });
        },
      ),
      { numRuns: 8 },
    );
  });
});
