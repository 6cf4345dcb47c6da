import { parseVmid } from '@felhom/proxmox/upid.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyFields, planOf } from './apply-fields.ts';
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

describe('what plan says to programs', () => {
  it('is one JSON object, with what waits for a restart apart', async () => {
    const vm = { vmid: parseVmid(201), kind: 'qemu' } as const;
    await host.declare('201.yaml', { vmid: 201, desired: { cores: 4 } });
    await applyFields(host.pve, vm, await planOf(host.pve, vm, { cores: 4 }));
    const told = await host.run('plan', '201', '--json', '--detailed-exitcode');
    expect(told.exit).toBe(0);
    expect(told.json).toMatchObject({
      schema: 'felhom.plan/1',
      node: 'pve1',
      drift: false,
      guests: [
        {
          vmid: 201,
          name: 'win',
          kind: 'qemu',
          standing: 'in_sync',
          actions: [],
          awaiting_restart: [{ field: 'cores', live: '2', declared: '4' }],
        },
      ],
      problems: [],
      refused: null,
    });
    expect((await host.run('plan', '201')).stdout).toContain(
      'cores        4 is applied and takes effect after a restart (now 2)',
    );
  });

  it('ends 3 where a guest cannot be had as declared, and plans the others', async () => {
    await host.declare('103.yaml', 'vmid: 103\ndesired: { coores: 8 }\n');
    await host.declare('notes.yaml', 'what is this');
    const told = await host.run('plan', '--detailed-exitcode');
    expect(told.exit).toBe(3);
    expect(told.stdout).toContain(
      'guest 103, failed: /F/guests.d/103.yaml:2:12: desired.coores: unknown key, did you mean desired.cores?',
    );
    expect(told.stdout).toContain('not understood, and so left alone:\n  /F/guests.d/notes.yaml:1:1: ');
    expect(told.stdout).toContain('guest 101 docker1\n  ~ cores        2 -> 4\n');
    await host.declare('notes.yaml', undefined);
    await host.declare('103.yaml', { vmid: 103, desired: { cores: 2 } });
  });

  it('ends 13 where it would stop too much, shows what, and not where that is allowed', async () => {
    await host.declare('101.yaml', { vmid: 101, desired: { state: 'stopped' } });
    await host.declare('103.yaml', { vmid: 103, desired: { state: 'stopped' } });
    const told = await host.run('plan');
    expect(told.exit).toBe(13);
    expect(told.stdout).toContain('guest 101 docker1\n  - stop\n');
    expect(told.stdout).toContain(
      'refused: the plan would stop 2 of 4 declared guests (101, 103); nothing of it is done\n  If that is meant: --allow-stops 2\n',
    );
    expect((await host.run('plan', '--allow-stops', '2')).exit).toBe(0);
    expect((await host.run('plan', '--json')).json).toMatchObject({ refused: { would_stop: [101, 103] } });
  });
});

describe('reconcile --dry-run', () => {
  it('is plan by another name', async () => {
    const [plan, dryRun] = [await host.run('plan', '--json'), await host.run('reconcile', '--dry-run', '--json')];
    expect(dryRun.exit).toBe(plan.exit);
    expect({ ...dryRun.json, observed_at: null }).toEqual({ ...plan.json, observed_at: null });
  });
});

describe('the configuration of guests', () => {
  it('is checked as a whole: every mistake is named, with its line', async () => {
    await host.declare('103.yaml', 'vmid: 103\ndesired: { coores: 8 }\n');
    await host.declare('104.yaml', 'vmid: 201\n');
    const checked = await host.run('config', 'check');
    expect(checked.exit).toBe(2);
    expect(checked.stderr).toContain('/F/guests.d/103.yaml:2:12: desired.coores: unknown key');
    expect(checked.stderr).toContain('/F/guests.d/104.yaml: guest 201 is declared in /F/guests.d/201.yaml too');
    const status = await host.run('status', '--check');
    expect(status.exit).toBe(6);
    expect(status.stdout).toContain(
      'a guest is left alone, because its file is not understood: /F/guests.d/103.yaml:2:12',
    );
  });

  it('has a schema that editors take', async () => {
    const printed = await host.run('config', 'schema', '--guest');
    const schema: unknown = JSON.parse(printed.stdout);
    expect(schema).toMatchObject({
      $schema: 'http://json-schema.org/draft-07/schema#',
      type: 'object',
      required: ['vmid'],
      additionalProperties: false,
      properties: {
        desired: {
          additionalProperties: false,
          properties: {
            state: { enum: ['running', 'stopped'] },
            memory: { type: 'string', pattern: expect.any(String) },
          },
        },
      },
    });
  });
});
