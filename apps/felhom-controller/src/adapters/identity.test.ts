import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentApi, AgentError } from '@felhom/guest-api/agent-api.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileGeneration } from './generation-file.ts';
import { noAgent } from './no-agent.ts';
import { readRefusal, rememberingRefusals } from './refusal-file.ts';

let folder: string;
const warnings: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-identity-'));
  warnings.length = 0;
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const open = () =>
  fileGeneration({
    stateDir: join(folder, 'state'),
    runDir: join(folder, 'run'),
    clock: systemClock,
    warn: (text) => warnings.push(text),
  });

describe('the generation on disk', () => {
  it('is none at first, and then what was kept last', async () => {
    expect(await open().read()).toBeNull();
    await open().write('4');
    await open().write('11');
    expect(await open().read()).toBe('11');
  });

  it('never goes back, whoever writes in which order', async () => {
    await Promise.all(['3', '12', '7', '11', '1'].map(async (value) => await open().write(value)));
    expect(await open().read()).toBe('12');
  });

  it('survives the loss of one of its two copies', async () => {
    await open().write('5');
    await writeFile(join(folder, 'state/identity/generation.a.json'), '{"ver');
    expect(await open().read()).toBe('5');
  });

  it('that cannot be kept is told, and the old one stays in force', async () => {
    await open().write('5');
    await writeFile(join(folder, 'blocked'), '');
    const blocked = fileGeneration({
      stateDir: join(folder, 'blocked'),
      runDir: join(folder, 'run'),
      clock: systemClock,
      warn: (text) => warnings.push(text),
    });
    await blocked.write('6');
    expect(warnings).toHaveLength(1);
    expect(await open().read()).toBe('5');
  });
});

describe('a refusal of this guest', () => {
  const refusal = (kind: 'restored_copy' | 'refused', code: 'restored_copy' | 'unauthorized' | 'policy_refused') =>
    new AgentError(kind, {
      code,
      message: 'this is a copy of guest 101',
      hint: 'felhom-agent guest adopt 101',
      status: 409,
    });

  function agentThat(answers: (() => Promise<never>)[]): AgentApi {
    const base = noAgent('a test');
    return { ...base, restoreTest: async () => (await answers.shift()?.()) ?? { last: null } };
  }

  const stateDir = (): string => join(folder, 'state');
  const refuse = (error: AgentError) => async () => {
    throw error;
  };
  const remember = (api: AgentApi): AgentApi => rememberingRefusals(api, { stateDir: stateDir(), clock: systemClock });

  it('is kept with its words until a call is let in', async () => {
    const api = remember(agentThat([refuse(refusal('restored_copy', 'restored_copy'))]));
    await expect(api.restoreTest()).rejects.toMatchObject({ kind: 'restored_copy' });
    expect(await readRefusal(stateDir())).toMatchObject({
      reason: 'restored_copy',
      message: 'this is a copy of guest 101',
    });
    await api.restoreTest();
    expect(await readRefusal(stateDir())).toBeNull();
  });

  it('of another process is forgotten by the first call of ours that is let in', async () => {
    await expect(remember(agentThat([refuse(refusal('refused', 'unauthorized'))])).restoreTest()).rejects.toThrow();
    await remember(agentThat([])).restoreTest();
    expect(await readRefusal(stateDir())).toBeNull();
  });

  it('is not what a policy refused, nor silence', async () => {
    await expect(remember(agentThat([refuse(refusal('refused', 'policy_refused'))])).restoreTest()).rejects.toThrow();
    await expect(remember(noAgent('a test')).due()).rejects.toMatchObject({ kind: 'unreachable' });
    expect(await readRefusal(stateDir())).toBeNull();
  });

  it('that cannot be kept on disk is refused all the same', async () => {
    await writeFile(stateDir(), 'a file where the folder would be');
    await chmod(stateDir(), 0o600);
    await expect(
      remember(agentThat([refuse(refusal('restored_copy', 'restored_copy'))])).restoreTest(),
    ).rejects.toMatchObject({ kind: 'restored_copy' });
    expect(await readFile(stateDir(), 'utf8')).toContain('a file');
  });
});
