import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPlanning, type Planning } from './planning.ts';

let host: Planning;
beforeAll(async () => {
  host = await openPlanning([
    { vmid: 101, name: 'docker1' },
    { vmid: 102, name: 'db', running: false },
    { vmid: 103, name: 'cache' },
    { vmid: 201, kind: 'qemu', name: 'win' },
  ]);
});
afterAll(() => host.close());

describe('plan', () => {
  it('does nothing where nothing is declared', async () => {
    expect(await host.run('plan')).toMatchObject({ exit: 0, stdout: 'nothing is declared, so nothing is managed\n' });
  });

  it('shows at a glance what would change, and tells drift by its exit code', async () => {
    await host.declare('101.yaml', {
      vmid: 101,
      desired: { state: 'running', cores: 4, memory: '4GiB', swap: '512MiB' },
    });
    await host.declare('102.yaml', { vmid: 102, desired: { state: 'running', description: 'line one\nline two\n' } });
    await host.declare('103.yaml', { vmid: 103, desired: { cores: 2 } });
    await host.declare('201.yaml', { vmid: 201, desired: { cores: 4, hostname: 'win' } });
    const told = await host.run('plan');
    expect(told.exit).toBe(0);
    expect(told.stdout).toMatchInlineSnapshot(`
      "guest 101 docker1
        ~ cores        2 -> 4
        ~ memory       2 GiB -> 4 GiB
      guest 102 db
        ~ description
            + line one
            + line two
        + start
      guest 201 win
        ~ cores        2 -> 4   (takes effect after a restart)
      3 to change, 1 to start, 0 to stop; 1 in sync
      "
    `);
    expect((await host.run('plan', '--detailed-exitcode')).exit).toBe(4);
    expect((await host.run('plan', '103', '--detailed-exitcode')).exit).toBe(0);
  });
});
