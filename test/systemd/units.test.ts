import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { boundsSchema } from 'felhom-agent/bounds.ts';
import { defaultUpgradeBounds } from 'felhom-controller/upgrade/bounds.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../lab/process.ts';

const units = resolve(import.meta.dirname, '../../packaging/systemd');
const names = readdirSync(units).filter((name) => /\.(service|timer|socket)$/.test(name));
let root: string;

/** A root in which our programs exist, and systemd's own units. */
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'felhom-units-'));
  for (const folder of ['etc/systemd/system', 'usr/bin', 'usr/lib/systemd'])
    mkdirSync(join(root, folder), { recursive: true });
  cpSync('/usr/lib/systemd/system', join(root, 'usr/lib/systemd/system'), { recursive: true, verbatimSymlinks: true });
  for (const program of ['felhom-agent', 'felhom-controller']) {
    writeFileSync(join(root, 'usr/bin', program), '#!/bin/sh\n');
    chmodSync(join(root, 'usr/bin', program), 0o755);
  }
  mkdirSync(join(root, 'usr/libexec/felhom'), { recursive: true });
  writeFileSync(join(root, 'usr/libexec/felhom/felhom-root-helper'), '#!/bin/sh\n', { mode: 0o755 });
  for (const name of names) cpSync(join(units, name), join(root, 'etc/systemd/system', name));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const verify = async (name: string): Promise<string> => {
  const end = await run('systemd-analyze', ['verify', '--man=no', `--root=${root}`, name]);
  return `${end.stdout}${end.stderr}${end.code === 0 ? '' : `exit code ${end.code}`}`;
};
const textOf = (name: string): string => readFileSync(join(units, name), 'utf8');

describe('the units', () => {
  it.each(names)('%s is accepted by systemd-analyze verify without a word', async (name) => {
    expect(await verify(name.replace('@.', '@1.'))).toBe('');
  });

  it('are really judged: a key that systemd does not know is found', async () => {
    writeFileSync(
      join(root, 'etc/systemd/system/broken.service'),
      `${textOf('felhom-controller-watch.service')}\nKilMode=mixed\n`,
    );
    expect(await verify('broken.service')).toContain('broken.service');
  });

  it.each(names.filter((name) => name.startsWith('felhom-controller') && name.endsWith('.service')))(
    '%s signals the controller alone, and gives a stop and a resume their time',
    (name) => {
      expect(textOf(name)).toMatch(/^KillMode=mixed$/m);
      expect(textOf(name)).toMatch(/^Timeout(Stop|Start)Sec=(15min|6h)$/m);
    },
  );

  it.each(['boot', 'recover'])(
    'felhom-controller-%s.service gives an upgrade that is taken back more than the whole of an upgrade may take',
    (name) => {
      const hours = /^TimeoutStartSec=(\d+)h$/m.exec(textOf(`felhom-controller-${name}.service`))?.[1];
      expect(Number(hours) * 3_600_000).toBeGreaterThan(defaultUpgradeBounds.maxUpgradeMs);
    },
  );

  it('let the agent tell that it is ready and that it lives, by a child of its own', () => {
    const unit = textOf('felhom-agent.service');
    expect(unit).toMatch(/^Type=notify$/m);
    expect(unit).toMatch(/^NotifyAccess=all$/m);
    expect(unit).toMatch(/^WatchdogSec=3min$/m);
  });

  it.each(['felhom-agent.service', 'felhom-agent-reconcile.service'])(
    '%s gives a pass that is asked to end more than it may take',
    (name) => {
      const minutes = /^TimeoutStopSec=(\d+)min$/m.exec(textOf(name))?.[1];
      const { stop_grace: graceMs, pve_call: callMs, pve_busy: busyMs } = boundsSchema.parse({});
      // The lock of the journal is waited for thirty seconds (shared-journal.ts).
      expect(Number(minutes) * 60_000).toBeGreaterThan(graceMs + callMs + busyMs + 2 * 30_000);
    },
  );

  it('make guests as declared under the user of the agent, whose state it is, and long enough for a shutdown', () => {
    const unit = textOf('felhom-agent-reconcile.service');
    expect(unit).toMatch(/^ExecStart=\/usr\/bin\/felhom-agent reconcile --once$/m);
    expect(unit).toMatch(/^User=felhom-agent$/m);
    expect(unit).toMatch(/^KillMode=mixed$/m);
    expect(unit).toMatch(/^TimeoutStartSec=30min$/m);
  });

  it('look for debts every minute, whatever the clock or other units do, and only where there are any', () => {
    expect(textOf('felhom-controller-recover.timer')).toMatch(/^OnCalendar=\*-\*-\* \*:\*:00$/m);
    expect(textOf('felhom-controller-recover.timer')).not.toMatch(/^(After|Requires|BindsTo|PartOf|Condition)/m);
    expect(textOf('felhom-controller-recover.service')).toMatch(
      /^ConditionDirectoryNotEmpty=\/var\/lib\/felhom\/debts$/m,
    );
  });

  it.each(names.filter((name) => name.endsWith('.timer')))(
    '%s names a calendar that systemd understands',
    async (name) => {
      const calendar = /^OnCalendar=(.*)$/m.exec(textOf(name))?.[1] ?? '';
      expect(await run('systemd-analyze', ['calendar', calendar])).toMatchObject({ code: 0 });
    },
  );
});
