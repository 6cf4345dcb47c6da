import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPlanning, type Planning } from './planning.ts';

let host: Planning;
beforeAll(async () => {
  host = await openPlanning([101, 102, 103, 104, 105].map((vmid) => ({ vmid, running: false })));
});
afterAll(() => host.close());

describe('one pass over a folder with bad files in it', () => {
  it('makes every other guest as declared, touches none of theirs, and names each mistake', async () => {
    const aliases = Array.from({ length: 9 }, (_, level) => {
      const before = level === 0 ? '"lol"' : `*a${level - 1}`;
      return `a${level}: &a${level} [${Array(9).fill(before).join(',')}]`;
    });
    await host.declare('101.yaml', { vmid: 101, desired: { state: 'running', cores: 3 } });
    await host.declare('102.yaml', `vmid: 102\ndesired: { state: running }\n${aliases.join('\n')}\n`);
    await host.declare(
      '103.yaml',
      `vmid: 103\ndesired: { state: running, description: "${'x'.repeat(10_000_000)}" }\n`,
    );
    await host.declare('104.yaml', { vmid: 104, desired: { state: 'running' } });
    await host.declare('104-again.yaml', { vmid: 104, desired: { state: 'stopped', cores: 8 } });
    await host.declare('105.yaml', { vmid: 105, desired: { cores: 9000 } });
    await host.declare('999.yaml', { vmid: 999, desired: { state: 'running' } });
    const pass = await host.run('reconcile', '--once');
    expect(pass.exit).toBe(3);
    expect(pass.stdout).toContain('Excessive alias count');
    expect(pass.stdout).toContain('/F/guests.d/103.yaml: it is 9.5 MiB long');
    expect(pass.stdout).toContain('guest 104 is declared in /F/guests.d/104-again.yaml too');
    expect(pass.stdout).toContain('desired.cores: expected a whole number from 1 to 8192');
    expect(pass.stdout).toMatch(/999.*no such guest/);
    const now = host.sim.guests.list().map(({ vmid, running, config }) => [vmid, running, config['cores']]);
    expect(now).toEqual([
      [101, true, 3],
      [102, false, 2],
      [103, false, 2],
      [104, false, 2],
      [105, false, 2],
    ]);
  });
});
