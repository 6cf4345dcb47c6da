import { spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../lab/wait-until.ts';
import { isRunning, openStage, type Stage, vzdumpEnvironment } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = openStage();
});
afterEach(async () => await stage.close());

const preStop = ['pre-stop', 'snapshot', '101'];
const waits = (): number => stage.calls.filter((call) => call.path === '/hook/wait').length;

describe('an open gate', () => {
  it('is held until the agent says go, by the gate id it was given', async () => {
    const verdicts = ['wait', 'wait', 'go'];
    await stage.listen({
      '/hook/pre-stop': 'gate g-1_A 60',
      '/hook/wait': (response) => response.end(verdicts.shift()),
    });
    const end = await stage.run(preStop);
    expect(end).toMatchObject({ code: 0, output: 'felhom: waiting for the applications of guest 101, at most 60 s\n' });
    expect(stage.calls.slice(1).map((call) => call.fields)).toEqual([
      { gate: 'g-1_A' },
      { gate: 'g-1_A' },
      { gate: 'g-1_A' },
    ]);
  });

  it('is left within milliseconds of the word', async () => {
    let wordAt = 0;
    await stage.listen({
      '/hook/pre-stop': 'gate g1 60',
      '/hook/wait': (response) =>
        setTimeout(() => {
          wordAt = performance.now();
          response.end('go');
        }, 100),
    });
    await stage.run(preStop);
    expect(performance.now() - wordAt).toBeLessThan(60);
  });

  it('ends the backup when the agent says fail, with its reason in the task log', async () => {
    await stage.listen({ '/hook/pre-stop': 'gate g1 60', '/hook/wait': 'fail cancelled by root' });
    const end = await stage.run(preStop);
    expect(end.code).toBe(1);
    expect(end.output).toContain('felhom: this backup is ended: cancelled by root\n');
  });

  it('is left after the hold bound when the word never comes', async () => {
    await stage.listen({ '/hook/pre-stop': 'gate g1 1', '/hook/wait': () => undefined });
    const end = await stage.run(preStop);
    expect(end.code).toBe(0);
    expect(end.output).toContain('were not reported down within 1 s');
    expect(end.tookMs).toBeGreaterThan(900);
    expect(end.tookMs).toBeLessThan(3_000);
  });

  it('is never held longer than the policy allows, whatever the agent wants', async () => {
    stage.policy({ hold_limit: '1' });
    await stage.listen({ '/hook/pre-stop': 'gate g1 999999', '/hook/wait': 'wait' });
    const end = await stage.run(preStop);
    expect(end.code).toBe(0);
    expect(end.tookMs).toBeLessThan(3_000);
  });

  it('does not become a busy loop when the agent answers nonsense at once', async () => {
    await stage.listen({ '/hook/pre-stop': 'gate g1 1', '/hook/wait': 'wibble' });
    expect(await stage.run(preStop)).toMatchObject({ code: 0 });
    expect(waits()).toBeGreaterThan(2);
    expect(waits()).toBeLessThan(12);
  });

  it('survives a restart of the agent: the hook comes back by its gate id', async () => {
    await stage.listen({ '/hook/pre-stop': 'gate g7 60', '/hook/wait': () => undefined });
    const hook = stage.start(preStop);
    await waitUntil('the hook waits', () => waits() === 1);
    await stage.vanish();
    await stage.listen({ '/hook/wait': 'go' });
    expect(await hook.ended).toMatchObject({ code: 0 });
    expect(stage.calls.at(-1)).toEqual({ path: '/hook/wait', fields: { gate: 'g7' } });
  });

  it('is left after the hold bound when the agent never comes back', async () => {
    await stage.listen({ '/hook/pre-stop': 'gate g7 1', '/hook/wait': () => undefined });
    const hook = stage.start(preStop);
    await waitUntil('the hook waits', () => waits() === 1);
    await stage.vanish();
    const end = await hook.ended;
    expect(end.code).toBe(0);
    expect(end.tookMs).toBeLessThan(3_000);
  });
});

describe('a waiting hook that is killed', () => {
  it.each(['SIGTERM', 'SIGKILL', 'SIGINT', 'SIGHUP'] as const)(
    'by %s is gone at once, with its connection',
    async (signal) => {
      let dropped = false;
      await stage.listen({
        '/hook/pre-stop': 'gate g1 60',
        '/hook/wait': (response) => response.on('close', () => (dropped = true)),
      });
      const hook = stage.start(preStop);
      await waitUntil('the hook waits', () => waits() === 1);
      const at = performance.now();
      hook.child.kill(signal);
      expect(await hook.ended).toMatchObject({ code: null, signal });
      await waitUntil('the agent sees the connection close', () => dropped);
      expect(performance.now() - at).toBeLessThan(1_000);
    },
  );

  it('leaves by itself when the worker that called it was killed', async () => {
    let dropped = false;
    await stage.listen({
      '/hook/pre-stop': 'gate g1 60',
      '/hook/wait': (response) => response.on('close', () => (dropped = true)),
    });
    const worker = spawn(
      '/bin/sh',
      ['-c', '"$0" pre-stop snapshot 101; exit 0', `${stage.folder}/felhom-vzdump-hook`],
      {
        env: vzdumpEnvironment,
        stdio: 'ignore',
      },
    );
    await waitUntil('the hook waits', () => waits() === 1);
    expect(stage.calls[0]?.fields['pid']).toBe(String(worker.pid));
    worker.kill('SIGKILL');
    await waitUntil('the agent sees the connection close', () => dropped, { boundMs: 3_000 });
    await waitUntil('the worker is reaped', () => !isRunning(worker.pid ?? 0));
  });

  it('does not fail a backup because nobody reads its output any more', async () => {
    await stage.listen({
      '/hook/pre-stop': 'gate g1 60',
      '/hook/wait': (response) => setTimeout(() => response.end('go'), 200),
    });
    const hook = stage.start(preStop);
    hook.child.stdout?.destroy();
    hook.child.stderr?.destroy();
    expect(await hook.ended).toMatchObject({ code: 0, signal: null });
  });
});
