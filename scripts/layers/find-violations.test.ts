import { describe, expect, it } from 'vitest';
import { findViolations } from './find-violations.ts';
import { layerRules } from './rules.ts';

const crossed = (file: string, source: string) =>
  findViolations(file, source, layerRules).map(({ rule, line }) => `${line} ${rule.name}`);

describe('layer rules', () => {
  it('keep effects out of planning, but let it name their types', () => {
    const file = 'apps/felhom-agent/src/backup/plan.ts';
    expect(crossed(file, "import { readFile } from 'node:fs/promises';")).toEqual(['1 planning is pure']);
    expect(crossed(file, "import type { Stats } from 'node:fs';")).toEqual([]);
  });

  it('find an import that spans lines, and one that is dynamic', () => {
    const file = 'apps/felhom-controller/src/quiesce/stop.ts';
    expect(crossed(file, "\nimport {\n  execa,\n} from 'execa';")).toEqual(['2 programs start in the command runner']);
    expect(crossed(file, "const { execa } = await import('execa');")).toEqual([
      '1 programs start in the command runner',
    ]);
  });

  it('let only wiring build adapters', () => {
    const source = "import { systemCommands } from '@felhom/kernel/command-runner.ts';";
    expect(crossed('apps/felhom-agent/src/serve/server.ts', source)).toEqual(['1 only wiring builds adapters']);
    expect(crossed('apps/felhom-agent/src/wiring.ts', source)).toEqual([]);
  });

  it('keep docker behind the engine', () => {
    const source = "await runner.run('docker', ['ps']);";
    expect(crossed('apps/felhom-controller/src/quiesce/stop.ts', source)).toEqual([
      '1 engine is the one door to docker',
    ]);
    expect(crossed('apps/felhom-controller/src/engine/cli.ts', source)).toEqual([]);
  });

  it('keep the simulator apart from the client', () => {
    const file = 'packages/pve-sim/src/tasks/upid.ts';
    expect(crossed(file, "import { parseUpid } from '@felhom/proxmox/upid.ts';")).toEqual([
      '1 the simulator knows no code of ours',
    ]);
    expect(crossed(file, "import { parseUpid } from '../../../proxmox/src/upid.ts';")).toEqual([
      '1 the simulator knows no code of ours',
    ]);
  });

  it('let start-up load heavy modules only when a command asks', () => {
    const file = 'apps/felhom-agent/src/program.ts';
    expect(crossed(file, "import { z } from 'zod';")).toEqual(['1 start-up loads commander only']);
    expect(crossed(file, "const { z } = await import('zod');")).toEqual([]);
  });

  it('do not read comments', () => {
    const file = 'packages/proxmox/src/upid.ts';
    expect(crossed(file, "// import { x } from '@felhom/proxmox/upid.ts';\n/*\nimport 'execa'\n*/")).toEqual([]);
    expect(crossed(file, "const a = 'http://x'; \nimport 'execa';")).toEqual([
      '2 programs start in the command runner',
    ]);
  });
});
