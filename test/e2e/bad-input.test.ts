import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createPlainServer } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { backUp, runningContainers, startTimes, waitUntilUp } from '../lab/backup.ts';
import { isRoot } from '../lab/disk.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { must, type RunEnd } from '../lab/process.ts';
import { plainService } from '../lab/stacks.ts';
import { runToHangingSnapshot, waitUntilNoJob, waitUntilNoRecovery } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Whatever is wrong in the guest or on the way to the host: a clear word, what to type next, the right exit code, and
 * no app down. Every case looks at the containers afterwards.
 */

let lab: Lab;
let config: string;
let original: string;
let before: Record<string, string>;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { agent_connect: '1s', agent_answer: '1s' } },
    // Where a killed controller says nothing, the archive is not kept waiting for long.
    agentBounds: { resume_hold: '1s' },
  });
  await lab.addStack('web', plainService('app'));
  config = join(lab.guest, 'etc/felhom/controller.yaml');
  original = await readFile(config, 'utf8');
});
afterAll(async () => await lab.close());

beforeEach(async () => {
  before = await startTimes(lab);
});
afterEach(async () => await writeFile(config, original));

const state = (...names: string[]): string => join(lab.guest, 'var/lib/felhom', ...names);

async function configure(change: Record<string, unknown>): Promise<void> {
  await writeFile(config, stringify({ ...(parse(original) as Record<string, unknown>), ...change }));
}

/** A failure in words: one `error:` line, a hint below it, and nothing stopped or started by it. */
async function expectRefusal(end: RunEnd, code: number, words: RegExp): Promise<void> {
  expect([end.code, end.stderr]).toEqual([code, expect.stringMatching(words)]);
  expect(end.stderr).toMatch(/error: .+\n(?:\/.+\n)* {2}\S/);
  expect(await startTimes(lab)).toEqual(before);
}

describe('a token', () => {
  const token = (): string => join(lab.guest, 'etc/felhom/token');
  let good: string;
  beforeAll(async () => {
    good = await readFile(token(), 'utf8');
  });
  afterEach(async () => {
    await writeFile(token(), good);
    await chmod(token(), 0o600);
  });

  it('that is wrong is refused, remembered for status, and forgotten once it is right', async () => {
    await writeFile(token(), `${'x'.repeat(40)}\n`);
    await expectRefusal(await lab.inGuest(['backup', 'now']), 12, /token is missing, wrong or revoked/);
    expect((await lab.inGuest(['status', '--check'])).code).toBe(6);
    await writeFile(token(), good);
    expect((await backUp(lab)).code).toBe(0);
    const well = await lab.inGuest(['status', '--check']);
    expect(well.code, well.stdout).toBe(0);
  });

  it('that others may read is not used', async () => {
    await chmod(token(), 0o644);
    await expectRefusal(await lab.inGuest(['backup', 'now']), 2, /others may read .*token \(mode 0644\)/);
  });

  it('that is missing, or is no line of text, is told with its place', async () => {
    await writeFile(token(), 'two words\n');
    await expectRefusal(await lab.inGuest(['backup', 'now']), 2, /does not hold one line of text/);
    await rm(token());
    await expectRefusal(await lab.inGuest(['backup', 'now']), 2, /cannot be read: .*token: ENOENT/);
  });
});

describe('an agent', () => {
  /** Something that speaks TLS and is no agent. */
  async function impostor(answer: (respond: (status: number, type: string, body: string) => void) => void) {
    const [key, cert] = [join(lab.folder, 'impostor.key'), join(lab.folder, 'impostor.crt')];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    execFileSync(
      'openssl',
      ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', '-nodes', '-subj', '/CN=x'],
      { stdio: 'ignore' },
    );
    const certificate = await readFile(cert, 'utf8');
    const server = createServer({ key: await readFile(key), cert: certificate }, (_request, response) => {
      answer((status, type, body) => response.writeHead(status, { 'content-type': type }).end(body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await configure({
      agents: [{ url: `https://127.0.0.1:${port}`, fingerprint: new X509Certificate(certificate).fingerprint256 }],
    });
    return {
      close: () => {
        server.closeAllConnections();
        server.close();
      },
    };
  }

  it.each([
    ['a web page', 200, 'text/html', '<html>Login</html>', /answered with a web page/],
    ['another shape', 200, 'application/json', '{"job_id":7,"phase":"eaten"}', /gave an answer that is none to POST/],
    ['too much', 200, 'application/json', `"${'x'.repeat(300_000)}"`, /sent more than \d+ bytes/],
    ['an error of a proxy', 502, 'text/html', '<h1>Bad Gateway</h1>', /answered with a web page \(HTTP 502\)/],
  ] as const)('that answers with %s is told to misbehave', async (_name, status, type, body, words) => {
    const liar = await impostor((respond) => respond(status, type, body));
    try {
      await expectRefusal(await lab.inGuest(['backup', 'now']), 10, words);
    } finally {
      liar.close();
    }
  });

  it('that never answers is not waited for without end', async () => {
    const silent = await impostor(() => undefined);
    try {
      await expectRefusal(await lab.inGuest(['backup', 'now']), 10, /did not answer in time/);
    } finally {
      silent.close();
    }
  });

  it('with another certificate gets nothing from us', async () => {
    const { agents } = parse(original) as { agents: { url: string }[] };
    await configure({ agents: [{ url: agents[0]?.url, fingerprint: `${'AB:'.repeat(31)}AB` }] });
    await expectRefusal(await lab.inGuest(['backup', 'now']), 12, /is not the agent we know/);
  });

  it('that is not there is named with its address', async () => {
    await lab.agent().stop();
    try {
      await expectRefusal(await lab.inGuest(['backup', 'now']), 10, /no agent answers at https:\/\/127\.0\.0\.1:\d+/);
      expect((await lab.inGuest(['backup', 'due'])).code).toBe(10);
    } finally {
      await lab.startAgent();
    }
  });
});

describe('a marker', () => {
  const copies = (): string[] => ['quiesce.a.json', 'quiesce.b.json'].map((name) => state('debts', name));

  async function leave(text: string): Promise<void> {
    await mkdir(state('debts'), { recursive: true });
    for (const copy of copies()) await writeFile(copy, text);
  }
  afterEach(async () => {
    for (const copy of copies()) await rm(copy, { force: true });
  });

  it('that cannot be read twice over is a debt: what was stopped since comes back', async () => {
    await leave('{"version":1,"val');
    await lab.engine.docker('stop', '--time', '2', 'web-app-1');
    expect((await lab.inGuest(['status', '--check'])).code).toBe(20);
    await lab.inGuest(['recover']);
    await waitUntilUp(lab, ['web-app-1']);
  });

  it('of which one copy is good is settled by that one, and erased', async () => {
    const controller = await runToHangingSnapshot(lab, ['web-app-1']);
    const good = await readFile(copies()[0] ?? '', 'utf8');
    await lab.clearFaults();
    expect(await controller.ended).toMatchObject({ code: 0 });
    await lab.engine.docker('stop', '--time', '2', 'web-app-1');
    await leave('{"version":1,"sequ');
    await writeFile(copies()[1] ?? '', good);
    const recovered = await lab.inGuest(['recover', '--json']);
    expect(JSON.parse(recovered.stdout)).toMatchObject({ outcome: 'settled', started: ['web-app-1'], owed: [] });
    expect(recovered.code).toBe(0);
    expect(await runningContainers(lab)).toEqual(['web-app-1']);
    expect(await readdir(state('debts'))).toEqual([]);
  });

  it('of a newer version is left to it: nothing new is started, and every command says which version', async () => {
    await leave('{"version":99,"sequence":1,"value":{"owed":"in a way that we do not know"}}');
    // A backup that is refused leaves its guard's recovery behind, beside which another one has nothing to say.
    await expectRefusal(await lab.inGuest(['recover']), 2, /written by a newer version .*format 99/);
    await expectRefusal(await lab.inGuest(['backup', 'now']), 2, /written by a newer version .*format 99/);
    expect((await lab.inGuest(['status', '--check'])).code).toBe(20);
    expect(await readdir(state('debts'))).toHaveLength(2);
  });
});

describe('names that are hostile to a shell', () => {
  it('are names: what has them is stopped, captured and started, and nothing they say is run', async () => {
    const proof = join(lab.folder, 'a-shell-was-here');
    const hostile = `$(touch ${proof});\`touch ${proof}\`'"|& --help`;
    const labels = { project: hostile, service: `--file=/etc/passwd ${hostile}`, 'container-number': '1' };
    const endless = ['sh', '-c', "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"];
    const flags = Object.entries(labels).flatMap(([key, value]) => ['--label', `com.docker.compose.${key}=${value}`]);
    const run = ['run', '--detach', '--restart', 'no', '--name', 'hostile.name', ...flags];
    await lab.engine.docker(...run, 'felhom/busybox:test', ...endless);
    try {
      const times = await startTimes(lab);
      const { code, result } = await backUp(lab);
      expect([code, result.error, result.grade]).toEqual([0, null, 'app-consistent']);
      expect(result.stacks.map(({ name }) => name).toSorted()).toEqual([hostile, 'web'].toSorted());
      const after = await startTimes(lab);
      expect(Object.keys(after)).toEqual(Object.keys(times));
      expect(after['hostile.name']).not.toBe(times['hostile.name']);
      expect((await lab.inGuest(['stack', 'show', hostile])).code).toBe(0);
      expect((await lab.inGuest(['recover', '--forgive', hostile])).code).not.toBe(1);
      expect(existsSync(proof)).toBe(false);
    } finally {
      await lab.engine.docker('rm', '--force', 'hostile.name');
    }
  });
});

describe.skipIf(!isRoot())('a state folder (made small by a mount, which needs root)', () => {
  beforeAll(async () => {
    // A backup is seen by the agent, which then offers this guest a generation to keep.
    expect((await backUp(lab)).code).toBe(0);
    expect((await lab.inGuest(['backup', 'due'])).code).toBe(0);
    before = await startTimes(lab);
  });

  /** A state folder of its own that holds who this guest is, and nothing else. */
  async function smallFolder(): Promise<string> {
    const place = join(lab.folder, 'small');
    await mkdir(place, { recursive: true });
    await must('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place]);
    await must('cp', ['-a', state('identity'), place]);
    await configure({ state_dir: place });
    return place;
  }

  it('that is full stops nothing, and says what to do', async () => {
    const place = await smallFolder();
    try {
      await must('sh', ['-c', 'head -c 65536 /dev/zero >"$0/filler" 2>/dev/null; true', place]);
      await expectRefusal(await lab.inGuest(['backup', 'now']), 3, /could not be written \(ENOSPC/);
    } finally {
      await must('umount', [place]);
    }
  });

  it('that is read-only stops nothing, and says what to do', async () => {
    const place = await smallFolder();
    try {
      await must('mount', ['-o', 'remount,ro', place]);
      await expectRefusal(await lab.inGuest(['backup', 'now']), 3, /could not be written/);
    } finally {
      await must('umount', [place]);
    }
  });

  const isUp = async (): Promise<boolean> => (await runningContainers(lab)).includes('web-app-1');
  const fill = async (place: string): Promise<string> =>
    await must('sh', ['-c', 'head -c 65536 /dev/zero >>"$0/filler" 2>/dev/null; true', place]);

  describe('whose debts lie on a disk that loses its room while the apps are down', () => {
    let debts: string;
    const owed = async (): Promise<string[]> => (await readdir(debts)).filter((name) => name !== 'filler');
    beforeEach(async () => {
      debts = state('debts');
      await mkdir(debts, { recursive: true });
      await must('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', debts]);
    });
    afterEach(async () => {
      await lab.clearFaults();
      await waitUntilNoJob(lab);
      await waitUntilNoRecovery(lab);
      await must('umount', [debts]);
    });

    it('has every app back by the guard when the controller is killed, too, and owes nothing', async () => {
      const controller = await runToHangingSnapshot(lab, ['web-app-1']);
      await fill(debts);
      controller.child.kill('SIGKILL');
      await waitUntilUp(lab, ['web-app-1']);
      expect(await waitUntil('nothing is owed', async () => (await owed()).length === 0)).toBe(true);
    });

    it('and has become read-only, keeps its marker, which is paid without another start once it can be written', async () => {
      const controller = await runToHangingSnapshot(lab, ['web-app-1']);
      await must('mount', ['-o', 'remount,ro', debts]);
      await lab.clearFaults();
      expect(await controller.ended).toMatchObject({ code: 0 });
      expect(controller.output()).toContain('the marker could not be updated');
      expect(await owed()).not.toEqual([]);
      const times = await startTimes(lab);
      expect(Object.keys(times)).toEqual(['web-app-1']);
      await must('mount', ['-o', 'remount,rw', debts]);
      expect((await lab.inGuest(['recover'])).code).toBe(0);
      expect(await owed()).toEqual([]);
      expect(await startTimes(lab)).toEqual(times);
    });
  });

  // The last one: the generation that the guest takes meanwhile is lost with the folder.
  it('that is full from the stop on has every app back all the same, and the run says what could not be written', async () => {
    const place = await smallFolder();
    try {
      const controller = await runToHangingSnapshot(lab, ['web-app-1']);
      await fill(place);
      await lab.clearFaults();
      expect(await controller.ended).toMatchObject({ code: 0 });
      expect(controller.output()).toContain('could not be written');
      expect(await isUp()).toBe(true);
      await waitUntilNoJob(lab);
    } finally {
      await lab.clearFaults();
      await must('umount', [place]);
    }
  });
});

describe('an engine', () => {
  it.each([
    ['that is not there', 'unix:///nowhere/docker.sock', /docker does not answer on \/nowhere\/docker\.sock/],
    ['of another machine', 'tcp://127.0.0.1:2375', /only an engine on a unix socket/],
    ['by ssh', 'ssh://root@host', /only an engine on a unix socket/],
  ])('%s is told, and nothing is asked of the host', async (_name, host, words) => {
    const archives = (await lab.archives()).length;
    await expectRefusal(await lab.inGuest(['backup', 'now'], { DOCKER_HOST: host }), 10, words);
    expect((await lab.archives()).length).toBe(archives);
  });
});

describe('what calls itself docker', () => {
  it('and is podman is refused before the host is asked for anything', async () => {
    const socket = join(lab.folder, 'podman.sock');
    const version = JSON.stringify({ Version: '4.3', ApiVersion: '1.41', Components: [{ Name: 'Podman Engine' }] });
    const podman = createPlainServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(version);
    }).listen(socket);
    await once(podman, 'listening');
    try {
      const end = await lab.inGuest(['backup', 'now'], { DOCKER_HOST: `unix://${socket}` });
      await expectRefusal(end, 10, /podman/i);
    } finally {
      podman.closeAllConnections();
      podman.close();
    }
  });
});

describe('a configuration', () => {
  it('that is broken keeps no recovery from its work', async () => {
    await writeFile(config, `${original}\nstats: 1\n`);
    await expectRefusal(await lab.inGuest(['backup', 'now']), 2, /stats: unknown key, did you mean stacks\?/);
    const recovered = await lab.inGuest(['recover']);
    expect([recovered.code, recovered.stderr]).toEqual([0, expect.stringContaining('the configuration is broken')]);
  });
});

describe('secrets', () => {
  it('stand in nothing that any program printed', async () => {
    const token = (await readFile(join(lab.guest, 'etc/felhom/token'), 'utf8')).trim();
    const captured = await lab.captured();
    expect(captured.length).toBeGreaterThan(1_000);
    for (const secret of [token, lab.simulator.token, lab.simulator.token.split('=').at(-1) ?? '']) {
      expect(captured.includes(secret)).toBe(false);
    }
  });
});
