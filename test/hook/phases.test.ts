import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStage, type Stage, vzdumpEnvironment } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = openStage();
});
afterEach(async () => await stage.close());

const jobPhases = [['job-init'], ['job-start'], ['job-end'], ['job-abort']];
const guestPhases = [
  'backup-start',
  'pre-stop',
  'pre-restart',
  'post-restart',
  'backup-end',
  'backup-abort',
  'log-end',
].map((phase) => [phase, 'snapshot', '101']);

describe.each([...jobPhases, ...guestPhases])('in phase %s %s %s', (...call) => {
  const args = call.filter((word) => word !== undefined);
  const [phase, mode = '', vmid = ''] = args;

  it('tells the agent everything vzdump told it, and the pid of the worker that called', async () => {
    await stage.listen({ '/hook/pre-stop': 'go' });
    const end = await stage.run(args);
    expect(end).toMatchObject({ code: 0, output: '' });
    expect(stage.calls).toEqual([
      {
        path: `/hook/${phase}`,
        fields: {
          mode,
          vmid,
          pid: String(process.pid),
          logfile: vzdumpEnvironment.LOGFILE,
          storeid: 'bk',
          dumpdir: vzdumpEnvironment.DUMPDIR,
          vmtype: 'lxc',
          hostname: 'docker1',
          target: vzdumpEnvironment.TARGET,
        },
      },
    ]);
  });

  it('lets the job go on when no agent was ever there', async () => {
    const end = await stage.run(args);
    expect(end.code).toBe(0);
    expect(end.output).toBe(phase === 'pre-stop' ? `felhom: there is no agent at ${stage.socket}\n` : '');
  });

  it('lets the job go on when the agent is gone and its socket file is left', async () => {
    await stage.listen();
    await stage.vanish();
    expect(await stage.run(args)).toMatchObject({ code: 0 });
  });

  it('lets the job go on when the agent hangs, after its bound', async () => {
    stage.policy({ ask_timeout: '1', tell_timeout: '1', resume_timeout: '1' });
    await stage.listen({ [`/hook/${phase}`]: () => undefined });
    const end = await stage.run(args);
    expect(end.code).toBe(0);
    expect(end.tookMs).toBeGreaterThan(900);
    expect(end.tookMs).toBeLessThan(3_000);
  });

  it.each([
    [
      'an error page',
      (response: import('node:http').ServerResponse) => response.writeHead(500).end('<html>gate g 9</html>'),
    ],
    ['nonsense', (response: import('node:http').ServerResponse) => response.end('gate ../../etc 99999999999 rm -rf')],
    ['nothing', (response: import('node:http').ServerResponse) => response.end()],
    [
      'bytes that are not HTTP',
      (response: import('node:http').ServerResponse) => response.socket?.end('\0\xff go \r\n\r\n go'),
    ],
    [
      'a cut answer',
      (response: import('node:http').ServerResponse) =>
        response.socket?.end('HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\ngo'),
    ],
    ['a broken connection', (response: import('node:http').ServerResponse) => response.destroy()],
  ])('lets the job go on when the agent answers %s', async (_what, answer) => {
    await stage.listen({ [`/hook/${phase}`]: (response) => void answer(response) });
    expect(await stage.run(args)).toMatchObject({ code: 0 });
  });

  it('is ended by the word of the agent only where that may end a backup', async () => {
    await stage.listen({ [`/hook/${phase}`]: 'fail mode suspend was not wanted' });
    const end = await stage.run(args);
    if (phase === 'pre-stop' || phase === 'backup-start') {
      expect(end).toMatchObject({ code: 1, output: 'felhom: this backup is ended: mode suspend was not wanted\n' });
    } else {
      expect(end).toMatchObject({ code: 0, output: '' });
    }
  });
});

describe('called by a person', () => {
  it.each([[[]], [['../../etc/passwd']], [['pre-stop; reboot', 'snapshot', '101']]])(
    'refuses %j with the usage',
    async (args) => {
      await stage.listen();
      const end = await stage.run(args);
      expect(end.code).toBe(2);
      expect(end.output).toContain('usage: felhom-vzdump-hook PHASE');
      expect(stage.calls).toEqual([]);
    },
  );
});

describe('values that are hostile', () => {
  const nasty = `a\nb\r\n\r\nX: 1 & ;'"$(touch \${0}.pwned) \`id\` %41 %n%s \\ * ü\u{1f4a5}`;

  it('reach the agent byte for byte', async () => {
    await stage.listen({ '/hook/pre-stop': 'go' });
    const environment = { ...vzdumpEnvironment, HOSTNAME: nasty, TARGET: nasty, LOGFILE: nasty };
    expect(await stage.run(['pre-stop', nasty, nasty], environment)).toMatchObject({ code: 0, output: '' });
    expect(stage.calls).toHaveLength(1);
    expect(stage.calls[0]?.fields).toMatchObject({
      mode: nasty,
      vmid: nasty,
      hostname: nasty,
      target: nasty,
      logfile: nasty,
    });
  });

  it('are cut at 4 KiB each, so that the request stays small', async () => {
    await stage.listen({ '/hook/pre-stop': 'go' });
    const environment = { ...vzdumpEnvironment, TARGET: 'x'.repeat(100_000), LOGFILE: '%'.repeat(100_000) };
    expect(await stage.run(['pre-stop', 'snapshot', '101'], environment)).toMatchObject({ code: 0 });
    expect(stage.calls[0]?.fields['target']).toHaveLength(4096);
    expect(stage.calls[0]?.fields['logfile']).toBe('%'.repeat(4096));
  });

  it('cannot write lines of their own into the task log', async () => {
    await stage.listen({ '/hook/pre-stop': "fail no\nINFO: creating vzdump archive '/x'\x1b[2J" });
    const end = await stage.run(['pre-stop', 'snapshot', '101']);
    expect(end).toMatchObject({
      code: 1,
      output: "felhom: this backup is ended: no INFO: creating vzdump archive '/x' [2J\n",
    });
  });

  it('work without any environment at all', async () => {
    await stage.listen({ '/hook/pre-stop': 'go' });
    expect(await stage.run(['pre-stop', 'snapshot', '101'], {})).toMatchObject({ code: 0, output: '' });
    expect(stage.calls[0]?.fields).toMatchObject({ logfile: '', storeid: '' });
  });
});
