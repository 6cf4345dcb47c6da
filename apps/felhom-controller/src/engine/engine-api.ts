import { setTimeout } from 'node:timers/promises';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { composeRecreate } from './compose.ts';
import { readComposeModel } from './compose-model.ts';
import { inspectAnswer, listAnswer, toContainerState, toSummary } from './container-json.ts';
import type { ContainerState, ContainerSummary } from './engine.ts';
import { followEvents } from './engine-events.ts';
import { execInContainer } from './engine-exec.ts';
import { type EngineAnswer, EngineHttp, errorText } from './engine-http.ts';
import type { VolumeEngine, VolumeState } from './volume-engine.ts';
import { toVolumeState, volumeAnswer } from './volume-json.ts';

const defaultLookBoundMs = 10_000;
const lookSideBySide = 16;
const endingTries = 20;
const endingPauseMs = 100;

/** `GET /info` (Engine API 1.41 to 1.52), as far as we read it. */
const infoAnswer = z.object({ ID: z.string().min(1) });

export interface EngineApiOptions {
  socketPath: string;
  commands: CommandRunner;
  /** Bound of calls that only look. */
  lookBoundMs?: number;
  /** A connection that is there already. */
  http?: EngineHttp;
}

export interface EngineApi extends VolumeEngine {
  close(): Promise<void>;
}

/** The real engine, by its API on a unix socket: no docker command has to start while apps are down. */
export function openEngineApi({
  socketPath,
  commands,
  lookBoundMs = defaultLookBoundMs,
  http = new EngineHttp(socketPath),
}: EngineApiOptions): EngineApi {
  const look = async (path: string, query?: Record<string, string>, boundMs = lookBoundMs): Promise<EngineAnswer> =>
    http.call({ method: 'GET', path, boundMs, ...(query === undefined ? {} : { query }) });

  const inspectOne = async (id: string): Promise<ContainerState | null> => {
    const answer = await look(`/containers/${encodeURIComponent(id)}/json`);
    if (answer.status === 404) return null;
    return toContainerState(parseAnswer(answer, inspectAnswer, 'inspect'));
  };

  const volume = async (name: string): Promise<VolumeState | null> => {
    const answer = await look(`/volumes/${encodeURIComponent(name)}`);
    return answer.status === 404 ? null : toVolumeState(parseAnswer(answer, volumeAnswer, 'volume inspect'));
  };

  const summaries = async (query: Record<string, string>, boundMs?: number): Promise<ContainerSummary[]> =>
    parseAnswer(await look('/containers/json', query, boundMs), listAnswer, 'list').map(toSummary);

  return {
    identity: async () => {
      const version = await http.version(lookBoundMs);
      // The run lock is named by it: an engine that tells none (it is just starting) must not give us a lock of our own.
      const { ID: id } = parseAnswer(await look('/info'), infoAnswer, 'info');
      return { id, version: version.Version, apiVersion: version.ApiVersion, socketPath };
    },
    list: async () => {
      const found = await summaries({ all: '1' });
      const states = await mapSideBySide(found, async ({ id }) => inspectOne(id));
      return states.filter((state) => state !== null);
    },
    listRunning: async (boundMs) => summaries({}, boundMs),
    inspect: async (ids) => mapSideBySide(ids, inspectOne),
    stop: async (id, { boundMs }) => {
      const answer = await http.call({ method: 'POST', path: `/containers/${encodeURIComponent(id)}/stop`, boundMs });
      if (answer.status === 404) return 'gone';
      if (answer.status === 304) return 'already_stopped';
      if (answer.status === 204) return 'stopped';
      throw refused(answer, 'stop', id);
    },
    start: async (id, { boundMs }) => {
      const answer = await http.call({ method: 'POST', path: `/containers/${encodeURIComponent(id)}/start`, boundMs });
      if (answer.status === 404 && /no such container/i.test(errorText(answer))) return 'gone';
      if (answer.status === 304) return 'already_running';
      if (answer.status === 204) return 'started';
      throw refused(answer, 'start', id);
    },
    events: async () => {
      const connection = new AbortController();
      const query = { filters: JSON.stringify({ type: ['container'] }) };
      const stream = await http.open(
        { method: 'GET', path: '/events', query, boundMs: lookBoundMs },
        connection.signal,
      );
      if (stream.status !== 200) throw refused({ status: stream.status, body: null }, 'send events', 'the engine');
      return followEvents(stream.body, connection);
    },
    exec: async (id, command, { boundMs }) => execInContainer(http, id, command, boundMs),
    recreate: async (service, options) => composeRecreate(commands, socketPath, service, options),
    volumes: async (names) => mapSideBySide(names, volume),
    composeModel: async (project) => readComposeModel(commands, socketPath, project),
    setRestartPolicy: async (id, { name, retries }) => {
      const body = { RestartPolicy: { Name: name, MaximumRetryCount: name === 'on-failure' ? retries : 0 } };
      const path = `/containers/${encodeURIComponent(id)}/update`;
      for (let tries = 1; ; tries += 1) {
        const answer = await http.call({ method: 'POST', path, body, boundMs: lookBoundMs });
        if (answer.status === 404) return 'gone';
        if (answer.status === 200) return 'updated';
        // A container that ends at this moment: to the engine it still runs, to runc it does not (engine 20.10, a crash loop).
        const isEnding = answer.status === 500 && /not running|already finished/.test(errorText(answer));
        if (!isEnding || tries >= endingTries) throw refused(answer, 'change the restart policy of', id);
        await setTimeout(endingPauseMs);
      }
    },
    close: async () => http.close(),
  };
}

export function refused(answer: EngineAnswer, verb: string, subject: string): Failure {
  return new Failure('operation_failed', {
    message: `docker refused to ${verb} ${subject.slice(0, 12)}: ${errorText(answer)}`,
    hint: `Look at: docker inspect ${subject.slice(0, 12)}; docker logs --tail 20 ${subject.slice(0, 12)}`,
  });
}

export function parseAnswer<T>(
  answer: EngineAnswer,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
  what: string,
): T {
  const parsed = answer.status === 200 ? schema.safeParse(answer.body) : { success: false as const };
  if (parsed.success) return parsed.data;
  throw new Failure('docker_unreachable', {
    message: `docker answered ${what} with ${answer.status === 200 ? 'something that cannot be read' : errorText(answer)}`,
    hint: 'Look at: docker info; docker ps --all',
  });
}

/** Maps with a bound on how many are under way, in the order given. */
async function mapSideBySide<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      const item = items[index];
      if (item !== undefined) results[index] = await map(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(lookSideBySide, items.length) }, worker));
  return results;
}
