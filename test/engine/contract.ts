import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from 'felhom-controller/engine/engine.ts';
import type { ProjectFiles } from 'felhom-controller/engine/stack-engine.ts';
import type { VolumeEngine } from 'felhom-controller/engine/volume-engine.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** What the contract asks of a container: the real engine makes it of busybox, the fake one in memory. */
export interface Wanted {
  /** `serves` ends at once when told to, `deaf` ignores its signal, `task` ends by itself with 0, `crashes` ends by itself with 3, over and over. */
  kind: 'serves' | 'deaf' | 'task' | 'crashes';
  restart: ContainerState['restartPolicy'];
  stopTimeoutSeconds?: number;
  slowStopMs?: number;
  labels?: Record<string, string>;
  healthCheck?: boolean;
  network?: string;
}

/** An engine under the contract. `settle` runs a promise: in real time, or by moving a virtual clock. */
export interface Subject {
  engine: VolumeEngine;
  make(name: string, wanted: Wanted): Promise<string>;
  start(name: string): Promise<void>;
  pause(name: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Makes a volume and answers its name; `options` as `docker volume create --opt` takes them. */
  makeVolume(name: string, options?: Record<string, string>): Promise<string>;
  /** Files of a Compose project with one service `web`: a volume `data`, a folder, one read-only, an env_file. */
  makeProject(name: string): Promise<ProjectFiles>;
  settle<T>(work: Promise<T>): Promise<T>;
  sleep(ms: number): Promise<void>;
  close(): Promise<void>;
}

const enough = { boundMs: 30_000 };

/** What every Engine keeps, the one in memory like the real one. */
export function engineContract(title: string, open: () => Promise<Subject>): void {
  describe(title, () => {
    let subject: Subject;
    let engine: VolumeEngine;
    beforeAll(async () => {
      subject = await open();
      engine = subject.engine;
    });
    afterAll(async () => await subject.close());

    const look = async (id: string): Promise<ContainerState> => {
      const [state] = await subject.settle(engine.inspect([id]));
      if (state === undefined || state === null) throw new Error(`${id} is gone`);
      return state;
    };
    const until = async (id: string, holds: (state: ContainerState) => boolean): Promise<ContainerState> => {
      for (let tries = 0; tries < 600; tries += 1) {
        const state = await look(id);
        if (holds(state)) return state;
        await subject.sleep(20);
      }
      throw new Error(`${id} never got there: ${JSON.stringify(await look(id))}`);
    };
    const running = async (name: string, wanted: Wanted): Promise<string> => {
      const id = await subject.make(name, wanted);
      await subject.start(name);
      return id;
    };

    it('says who it is', async () => {
      expect((await subject.settle(engine.identity())).id).not.toBe('');
    });

    it('tells what Compose wrote on a container', async () => {
      const id = await running('labelled', {
        kind: 'serves',
        restart: 'unless-stopped',
        stopTimeoutSeconds: 7,
        labels: {
          'com.docker.compose.project': 'contract',
          'com.docker.compose.service': 'web',
          'com.docker.compose.container-number': '2',
          'com.docker.compose.oneoff': 'False',
          'com.docker.compose.depends_on': 'db:service_healthy:true,migrate:service_completed_successfully:false',
          'felhom.quiesce': 'keep',
        },
      });
      expect(await look(id)).toMatchObject({
        id,
        project: 'contract',
        service: 'web',
        number: 2,
        oneoff: false,
        status: 'running',
        restartPolicy: 'unless-stopped',
        stopTimeoutSeconds: 7,
        labels: { 'felhom.quiesce': 'keep' },
        dependencies: [
          { service: 'db', condition: 'service_healthy', restart: true },
          { service: 'migrate', condition: 'service_completed_successfully', restart: false },
        ],
      });
      const listed = await subject.settle(engine.list());
      expect(listed.find((each) => each.id === id)?.service).toBe('web');
    });

    it('stops a container by its own signal: it ends by itself, its start time stays', async () => {
      const id = await running('stops', { kind: 'serves', restart: 'always' });
      const before = await look(id);
      expect(await subject.settle(engine.stop(id, enough))).toBe('stopped');
      const after = await look(id);
      expect(after).toMatchObject({ status: 'exited', exitCode: 0, oomKilled: false, startedAt: before.startedAt });
      expect(Date.parse(after.finishedAt)).toBeGreaterThanOrEqual(Date.parse(before.startedAt));
      expect(await subject.settle(engine.stop(id, enough))).toBe('already_stopped');
    });

    it('leaves what was stopped by hand down, whatever its restart policy', async () => {
      const id = await running('stays-down', { kind: 'serves', restart: 'always' });
      await subject.settle(engine.stop(id, enough));
      await subject.sleep(500);
      expect((await look(id)).status).toBe('exited');
    });

    it('kills what ignores its signal at its own grace: 137', async () => {
      const id = await running('deaf', { kind: 'deaf', restart: 'no', stopTimeoutSeconds: 1 });
      await subject.settle(engine.stop(id, enough));
      expect(await look(id)).toMatchObject({ status: 'exited', exitCode: 137 });
    });

    it('starts anew with another start time, and calls a second start nothing new', async () => {
      const id = await running('restarts', { kind: 'serves', restart: 'no' });
      const first = await look(id);
      await subject.settle(engine.stop(id, enough));
      expect(await subject.settle(engine.start(id, enough))).toBe('started');
      const second = await look(id);
      expect(second.status).toBe('running');
      expect(second.startedAt).not.toBe(first.startedAt);
      expect(await subject.settle(engine.start(id, enough))).toBe('already_running');
      expect((await look(id)).startedAt).toBe(second.startedAt);
    });

    it('takes a start of a container that is still shutting down for nothing, and then it is down', async () => {
      const id = await running('shutting-down', { kind: 'serves', restart: 'always', slowStopMs: 700 });
      const before = await look(id);
      const stop = engine.stop(id, enough);
      await subject.sleep(200);
      expect(await subject.settle(engine.start(id, enough))).toBe('already_running');
      await subject.settle(stop);
      expect(await look(id)).toMatchObject({ status: 'exited', startedAt: before.startedAt });
    });

    it('gives up waiting at the bound, and the stop goes on', async () => {
      const id = await running('slow', { kind: 'serves', restart: 'no', slowStopMs: 600 });
      const late = subject.settle(engine.stop(id, { boundMs: 100 }));
      await expect(late).rejects.toMatchObject({ code: 'docker_unreachable' });
      await expect(late).rejects.toBeInstanceOf(Failure);
      await until(id, ({ status }) => status === 'exited');
    });

    it('calls a container that is gone a value, not an error, in the order asked', async () => {
      const id = await running('there', { kind: 'serves', restart: 'no' });
      const none = '0'.repeat(64);
      const found = await subject.settle(engine.inspect([none, id, none]));
      expect(found.map((state) => state?.id ?? null)).toEqual([null, id, null]);
      expect(await subject.settle(engine.stop(none, enough))).toBe('gone');
      expect(await subject.settle(engine.start(none, enough))).toBe('gone');
    });

    it('does not start what lives in the network of a container that is gone, and still shows it', async () => {
      const holder = await running('holder', { kind: 'serves', restart: 'no' });
      const lodger = await running('lodger', { kind: 'serves', restart: 'no', network: `container:${holder}` });
      expect((await look(lodger)).namespacesOf).toEqual([holder]);
      await subject.settle(engine.stop(lodger, enough));
      await subject.remove('holder');
      const answer = await subject.settle(engine.start(lodger, enough).catch(() => 'refused' as const));
      expect(['gone', 'refused']).toContain(answer);
      expect(await look(lodger)).toMatchObject({ status: 'exited', namespacesOf: [holder] });
    });

    it('starts a crashing container over and over, each time with another start time, until it is stopped', async () => {
      const id = await running('crashes', { kind: 'crashes', restart: 'always' });
      const first = await look(id);
      const later = await until(id, (state) => state.startedAt !== first.startedAt);
      expect(['running', 'restarting']).toContain(later.status);
      expect(later.restartCount).toBeGreaterThan(0);
      await subject.settle(engine.stop(id, enough));
      const down = await until(id, ({ status }) => status === 'exited');
      await subject.sleep(500);
      expect((await look(id)).startedAt).toBe(down.startedAt);
    });

    it('counts what a restart policy did, and forgets it at a start', async () => {
      const id = await running('counts', { kind: 'crashes', restart: 'always' });
      await until(id, ({ restartCount }) => restartCount > 1);
      await subject.settle(engine.stop(id, enough));
      expect((await until(id, ({ status }) => status === 'exited')).restartCount).toBeGreaterThan(1);
      await subject.settle(engine.start(id, enough));
      expect((await look(id)).restartCount).toBeLessThan(2);
      await subject.settle(engine.stop(id, enough));
    });

    it('leaves a task that ended with 0 at that', async () => {
      const id = await running('task', { kind: 'task', restart: 'on-failure' });
      expect(await until(id, ({ status }) => status === 'exited')).toMatchObject({ exitCode: 0, restartCount: 0 });
    });

    it('tells in one quick call what runs, and what is paused', async () => {
      const id = await running('paused', { kind: 'serves', restart: 'no' });
      await subject.pause('paused');
      expect((await look(id)).status).toBe('paused');
      const found = await subject.settle(engine.listRunning());
      expect(found.find((each) => each.id === id)?.status).toBe('paused');
      const off = await subject.make('off', { kind: 'serves', restart: 'no' });
      expect((await subject.settle(engine.listRunning())).map((each) => each.id)).not.toContain(off);
      expect((await look(off)).status).toBe('created');
    });

    it('tells health as it comes', async () => {
      const id = await running('healthy', { kind: 'serves', restart: 'no', healthCheck: true });
      expect((await look(id)).health.startLimitMs).toBeGreaterThan(0);
      await until(id, ({ health }) => health.status === 'healthy');
    });

    it('tells every start and end from the moment it was subscribed to', async () => {
      const id = await subject.make('watched', { kind: 'serves', restart: 'no' });
      const events = await subject.settle(engine.events());
      await subject.start('watched');
      await subject.settle(engine.stop(id, enough));
      const found = await subject.settle(
        events.next((event) => event.containerId === id && event.action === 'die', new AbortController().signal),
      );
      expect(found?.name).toBe((await look(id)).name);
      const own = events.seen().filter((event) => event.containerId === id);
      expect(own.map(({ action }) => action).filter((action) => action === 'start' || action === 'die')).toEqual([
        'start',
        'die',
      ]);
      expect(Math.abs((own[0]?.timeMs ?? 0) - Date.parse((await look(id)).startedAt))).toBeLessThan(2_000);
      expect(events.broken()).toBeNull();
      events.close();
      expect(events.broken()).toBeNull();
    });

    it('changes the restart policy of a container that is down, and starts nothing', async () => {
      const id = await running('policy', { kind: 'serves', restart: 'always' });
      await subject.settle(engine.stop(id, enough));
      expect(await subject.settle(engine.setRestartPolicy(id, { name: 'no', retries: 0 }))).toBe('updated');
      expect(await look(id)).toMatchObject({ restartPolicy: 'no', status: 'exited' });
      await subject.settle(engine.setRestartPolicy(id, { name: 'on-failure', retries: 3 }));
      expect(await look(id)).toMatchObject({ restartPolicy: 'on-failure', restartRetries: 3, status: 'exited' });
      const none = '0'.repeat(64);
      expect(await subject.settle(engine.setRestartPolicy(none, { name: 'no', retries: 0 }))).toBe('gone');
    });

    it('tells where the data of a volume lies, and by which options it comes', async () => {
      const plain = await subject.makeVolume('plain-volume');
      const bound = await subject.makeVolume('bound', { type: 'none', o: 'bind', device: '/srv' });
      const found = await subject.settle(engine.volumes([plain, 'felhom-contract-no-such-volume', bound]));
      expect(found[0]).toMatchObject({ name: plain, driver: 'local', options: {} });
      expect(found[0]?.mountpoint).toMatch(/^\/.+/);
      expect(found[1]).toBeNull();
      expect(found[2]?.options).toEqual({ type: 'none', o: 'bind', device: '/srv' });
    });

    it('tells what Compose makes of a project: volumes by their names, folders by their paths, its env files', async () => {
      const project = await subject.makeProject('asked');
      const model = await subject.settle(engine.composeModel(project));
      expect(model.volumes?.['data']?.name).toBe(`${project.project}_data`);
      expect(model.services?.['web']?.volumes).toMatchObject([
        { type: 'volume', source: 'data', target: '/data' },
        { type: 'bind', source: `${project.workingDir}/folder`, target: '/folder' },
        { type: 'bind', source: `${project.workingDir}/fixed`, target: '/fixed', read_only: true },
      ]);
      expect(model.serviceEnvFiles).toEqual([`${project.workingDir}/web.env`]);
    });

    it("refuses files that are not there, with Compose's own words", async () => {
      const gone = { project: 'gone', composeFiles: ['/nowhere/compose.yaml'], envFiles: [], workingDir: '/' };
      const asked = subject.settle(engine.composeModel(gone));
      await expect(asked).rejects.toMatchObject({ code: 'operation_failed' });
      await expect(asked).rejects.toThrow(/no such file/);
    });

    it('runs a command in a container and tells how it ended', async () => {
      const id = await running('exec', { kind: 'serves', restart: 'no' });
      expect(await subject.settle(engine.exec(id, 'echo ready; exit 4', enough))).toEqual({
        exitCode: 4,
        output: 'ready\n',
      });
    });
  });
}
