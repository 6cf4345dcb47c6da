import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { baseContext } from '@felhom/cli/base-context.ts';
import { silentLog } from '@felhom/cli/log.ts';
import { memoryOutput } from '@felhom/cli/output.ts';
import { expect, test, vi } from 'vitest';
import { noAgent } from '../adapters/no-agent.ts';
import { loadConfig, locateConfig } from '../config.ts';
import { settleDebts } from './settle.ts';

test('the agent can still be asked after debts were settled: backup watch goes on with it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-settle-'));
  const env = { DOCKER_HOST: `unix://${folder}/no-engine.sock`, FELHOM_RUN_DIR: folder };
  const flags = { config: join(folder, 'none.yaml'), stateDir: folder };
  const outputs = { stdout: memoryOutput(), stderr: memoryOutput() };
  const close = vi.fn<() => Promise<void>>(async () => undefined);
  try {
    const end = await settleDebts({
      context: { ...baseContext({ setExit: () => undefined, env, ...outputs }, false), flags },
      loaded: await loadConfig(locateConfig(flags, env)),
      log: silentLog,
      stop: new AbortController().signal,
      agent: { ...noAgent('a test'), close },
      forgive: null,
    });
    expect(end.failure?.code).toBe('docker_unreachable');
    expect(close).not.toHaveBeenCalled();
  } finally {
    await rm(folder, { recursive: true });
  }
});
