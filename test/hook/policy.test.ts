import { chmodSync, chownSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../lab/wait-until.ts';
import { isRunning, openStage, type Stage, vzdumpEnvironment } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = openStage();
});
afterEach(async () => await stage.close());

const preStop = ['pre-stop', 'snapshot', '101'];
const read = (name: string): string => readFileSync(join(stage.folder, name), 'utf8');

describe('on_no_agent=fail', () => {
  it('ends the backup at pre-stop when there is no agent, and nowhere else', async () => {
    stage.policy({ on_no_agent: 'fail' });
    const end = await stage.run(preStop);
    expect(end).toMatchObject({ code: 1 });
    expect(end.output).toContain('on_no_agent=fail stands in hook.conf');
    for (const phase of ['job-init', 'backup-start', 'pre-restart', 'log-end'])
      expect(await stage.run([phase])).toMatchObject({ code: 0 });
  });

  it.each([
    ['refuses connections', async () => await stage.vanish()],
    ['hangs', async () => await stage.listen({ '/hook/pre-stop': () => undefined })],
    ['answers nonsense', async () => await stage.listen({ '/hook/pre-stop': 'hello' })],
  ])('ends the backup at pre-stop when the agent %s', async (_what, arrange) => {
    stage.policy({ on_no_agent: 'fail', ask_timeout: '1' });
    await stage.listen();
    await arrange();
    expect(await stage.run(preStop)).toMatchObject({ code: 1 });
  });

  it('does not count an agent that says ok as absent', async () => {
    stage.policy({ on_no_agent: 'fail' });
    await stage.listen();
    expect(await stage.run(preStop)).toMatchObject({ code: 0, output: '' });
  });
});

describe('the policy file', () => {
  it('is read, never run, and what is not understood is named', async () => {
    const text = `# comment\n\nsocket=${stage.socket}\ntouch ${stage.folder}/pwned\non_no_agent=explode\nask_timeout=$(id)\nhold_limit=-1`;
    writeFileSync(join(stage.folder, 'hook.conf'), text);
    await stage.listen({ '/hook/pre-stop': 'go' });
    const end = await stage.run(preStop);
    expect(end.code).toBe(0);
    expect(end.output).toContain(`left out: touch ${stage.folder}/pwned`);
    expect(end.output).toContain('left out: on_no_agent=explode');
    expect(() => read('pwned')).toThrow();
    expect(stage.calls).toHaveLength(1);
  });

  it('of another user is left out, and says so: whoever may write it would run as root', async () => {
    const [conf, script] = [join(stage.folder, 'hook.conf'), join(stage.folder, 'script')];
    writeFileSync(script, `#!/bin/sh\n: >${stage.folder}/pwned\n`);
    chmodSync(script, 0o755);
    writeFileSync(conf, `previous_script=${script}\n`);
    if (process.getuid?.() === 0) chownSync(conf, 65_534, 65_534);
    else {
      rmSync(conf);
      symlinkSync('/etc/passwd', conf);
    }
    const end = await stage.run(preStop);
    expect(end.code).toBe(0);
    expect(end.output).toContain(`${conf} is another user's`);
    expect(() => read('pwned')).toThrow();
  });

  it('may name a socket with blanks in its path', async () => {
    await stage.listen({ '/hook/pre-stop': 'go' });
    stage.policy({ socket: `${stage.folder}/no such 'agent'.sock` });
    expect(await stage.run(preStop)).toMatchObject({ code: 0 });
    expect(stage.calls).toEqual([]);
  });

  it('may name a socket path that is longer than a socket address can hold: there is no agent then', async () => {
    stage.policy({ socket: `${'/.'.repeat(80)}${stage.socket}` });
    await stage.listen({ '/hook/pre-stop': 'go' });
    expect(await stage.run(preStop)).toMatchObject({ code: 0 });
    expect(stage.calls).toEqual([]);
  });
});

describe('the script that was there before', () => {
  const recorder = '#!/bin/sh\nprintf "%s|" "$0" "$@" >"${0}.seen"\n/usr/bin/env >>"${0}.seen"\necho before\n';

  it.each([
    'job-init',
    'backup-start',
    'pre-stop',
    'pre-restart',
    'post-restart',
    'backup-end',
    'backup-abort',
    'log-end',
    'job-end',
  ])('is called in %s with the same arguments and environment, and the agent hears too', async (phase) => {
    const previous = stage.script("my 'old' script", recorder);
    stage.policy({ previous_script: previous });
    await stage.listen({ '/hook/pre-stop': 'go' });
    const end = await stage.run([phase, 'snapshot', '101']);
    expect(end).toMatchObject({ code: 0, output: 'before\n' });
    const [called, ...environment] = read("my 'old' script.seen").split('\n');
    expect(called).toContain(`${previous}|${phase}|snapshot|101|`);
    const given = [called?.split('|').at(-1), ...environment].filter(
      (line) => line !== '' && !line?.startsWith('PWD='),
    );
    expect(given.toSorted()).toEqual(
      Object.entries(vzdumpEnvironment)
        .map((entry) => entry.join('='))
        .toSorted(),
    );
    expect(stage.calls.map((call) => call.path)).toEqual([`/hook/${phase}`]);
  });

  it('fails a phase as it would have failed it alone, and the agent hears the phase all the same', async () => {
    stage.policy({ previous_script: stage.script('old', '#!/bin/sh\nexit 7\n') });
    await stage.listen();
    for (const phase of ['job-init', 'backup-start', 'pre-restart', 'backup-end', 'job-end']) {
      expect(await stage.run([phase, 'snapshot', '101'])).toMatchObject({ code: 7 });
    }
    expect(stage.calls.map((call) => call.path)).toEqual(
      ['job-init', 'backup-start', 'pre-restart', 'backup-end', 'job-end'].map((p) => `/hook/${p}`),
    );
  });

  it('that fails pre-stop ends the backup before any gate is asked for', async () => {
    stage.policy({ previous_script: stage.script('old', '#!/bin/sh\nexit 3\n') });
    await stage.listen({ '/hook/pre-stop': 'gate g1 60' });
    expect(await stage.run(preStop)).toMatchObject({ code: 3 });
    expect(stage.calls).toEqual([]);
  });

  it('comes after us in pre-restart, where the apps wait for the word', async () => {
    stage.policy({ previous_script: stage.script('old', '#!/bin/sh\nread line\necho "$line"\nexit 0\n') });
    let toldAt = 0;
    await stage.listen({
      '/hook/pre-restart': (response) => {
        toldAt = performance.now();
        response.end('ok');
      },
    });
    const end = await stage.run(['pre-restart', 'snapshot', '101']);
    expect(end.code).toBe(0);
    expect(toldAt).toBeGreaterThan(0);
  });

  it('still runs when the agent hangs', async () => {
    stage.policy({
      previous_script: stage.script('old', '#!/bin/sh\necho before\nexit 4\n'),
      tell_timeout: '1',
      resume_timeout: '1',
    });
    await stage.listen({ '/hook/pre-restart': () => undefined, '/hook/job-end': () => undefined });
    expect(await stage.run(['pre-restart', 'snapshot', '101'])).toMatchObject({ code: 4, output: 'before\n' });
    expect(await stage.run(['job-end'])).toMatchObject({ code: 4, output: 'before\n' });
  });

  it.each([
    ['is missing', () => `${stage.folder}/nowhere`, 127, 'missing or not executable'],
    ['is not executable', () => chmodded(stage.script('old', '#!/bin/sh\n')), 127, 'missing or not executable'],
    ['is named by a relative path', () => 'old', 127, 'is not an absolute path'],
    ['is this hook itself', () => `${stage.folder}/felhom-vzdump-hook`, 0, 'is this hook itself'],
  ])('that %s is said in the task log', async (_what, path, code, words) => {
    stage.policy({ previous_script: path() });
    const end = await stage.run(['job-init']);
    expect(end.code).toBe(code);
    expect(end.output).toContain(words);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('is ended with the hook by %s', async (signal) => {
    const previous = stage.script('old', '#!/bin/sh\necho $$ >"${0}.pid"\nexec /bin/sleep 300\n');
    stage.policy({ previous_script: previous });
    const hook = stage.start(preStop);
    let pid = 0;
    await waitUntil('the previous script runs', () => {
      try {
        pid = Number(read('old.pid'));
      } catch {
        // Not written yet: that is what the loop waits for.
        pid = 0;
      }
      return pid > 0;
    });
    hook.child.kill(signal);
    const end = await hook.ended;
    expect(end.code).toBe({ SIGTERM: 143, SIGINT: 130, SIGHUP: 129 }[signal]);
    await waitUntil('the previous script is gone', () => !isRunning(pid));
  });
});

function chmodded(path: string): string {
  chmodSync(path, 0o644);
  return path;
}
