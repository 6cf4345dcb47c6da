import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { CallOptions } from '@felhom/guest-api/agent-api.ts';
import { errorOfAnswer, parseJson, type RawAnswer } from '@felhom/guest-api/agent-errors.ts';
import { memoryGeneration } from '@felhom/guest-api/generation.ts';
import {
  cancelAnswer,
  headers,
  jobStatus,
  quiescedAnswer,
  reportAnswer,
  resumedAnswer,
  startAnswer,
} from '@felhom/guest-api/schema.ts';
import type { AgentApp } from 'felhom-agent/serve/app.ts';
import { guestApiListener } from 'felhom-agent/serve/guest-api.ts';
import type { AgentPort } from 'felhom-controller/quiesce/ports.ts';
import type { z } from 'zod';
import { simulatedToken } from './agent-life.ts';
import type { AgentWorld } from './agent-world.ts';
import { agentError } from './fake-agent.ts';

/*
 * The guest's way to its agent with nothing but the wire left out: the agent's own listener answers, the words of the
 * client are made of what it says, and the generation is presented as the client does.
 */

interface Request {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  body?: unknown;
  key?: string;
  signal?: AbortSignal | undefined;
}

export interface TransportOptions {
  bootId: () => string;
  /** The first answer to each kind of call is lost, after it had its effect. */
  losesAnswers: boolean;
}

/** What a controller is given to speak to whatever agent lives. */
export function inMemoryAgent(world: AgentWorld, { bootId, losesAnswers }: TransportOptions): AgentPort {
  const generation = memoryGeneration();
  const lost = new Set<string>();
  const call = async <S extends z.ZodType>(name: string, request: Request, schema: S): Promise<z.output<S>> => {
    const own = { [headers.generation]: generation.value ?? '0', [headers.bootId]: bootId() };
    let answer: Answered;
    try {
      answer = await world.call(name, async (app) => await exchange(app, request, own));
    } catch {
      world.note(`${name}: no answer`);
      throw agentError('unreachable');
    }
    if (request.signal?.aborted === true) throw request.signal.reason;
    if (losesAnswers && !lost.has(name)) {
      lost.add(name);
      throw agentError('unreachable');
    }
    if (answer.generation !== undefined) await generation.write(answer.generation);
    if (answer.status >= 400) throw errorOfAnswer(answer);
    return schema.parse(parseJson(answer.text));
  };
  const post = (jobId: string, what: string, body: unknown, { signal }: CallOptions): Request => ({
    method: 'POST',
    path: `/backup/${jobId}/${what}`,
    body,
    signal,
  });
  return {
    start: async (body, { idempotencyKey, signal }) =>
      await call('start', { method: 'POST', path: '/backup', body, key: idempotencyKey, signal }, startAnswer),
    status: async (jobId, { after, waitSeconds = 0, signal } = {}) => {
      const since = after === undefined ? '' : `&after=${after}`;
      const path = `/backup/status?job_id=${jobId}${since}&wait=${waitSeconds}`;
      return await call('status', { method: 'GET', path, signal }, jobStatus);
    },
    quiesced: async (jobId, options = {}) =>
      await call('quiesced', post(jobId, 'quiesced', {}, options), quiescedAnswer),
    resumed: async (jobId, options = {}) => await call('resumed', post(jobId, 'resumed', {}, options), resumedAnswer),
    cancel: async (jobId, { force = false, signal } = {}) => {
      const path = `/backup/${jobId}${force ? '?force=1' : ''}`;
      return await call('cancel', { method: 'DELETE', path, signal }, cancelAnswer);
    },
    report: async (jobId, body, options = {}) =>
      await call('report', post(jobId, 'report', body, options), reportAnswer),
  };
}

type Answered = RawAnswer & { generation: string | undefined };

/** One request through the agent's own listener. A request whose `signal` aborts is hung up on. */
async function exchange(app: AgentApp, request: Request, own: Record<string, string>): Promise<Answered> {
  const incoming = new IncomingMessage(new Socket());
  incoming.method = request.method;
  incoming.url = request.path;
  incoming.headers = {
    authorization: `Bearer ${simulatedToken}`,
    ...own,
    ...(request.key === undefined ? {} : { [headers.idempotencyKey]: request.key }),
  };
  incoming.complete = true;
  if (request.body !== undefined) incoming.push(Buffer.from(JSON.stringify(request.body)));
  incoming.push(null);
  const response = new ServerResponse(incoming);
  const hangUp = (): void => void response.emit('close');
  request.signal?.addEventListener('abort', hangUp, { once: true });
  const answer = new Promise<Answered>((resolve) => {
    const answered: Answered = { url: 'agent', status: 0, contentType: '', text: '', generation: undefined };
    Object.assign(response, {
      writeHead: (status: number, sent: Record<string, string>) => {
        answered.status = status;
        answered.contentType = sent['Content-Type'] ?? '';
        answered.generation = sent[headers.nextGeneration];
      },
      end: (payload: Buffer) => {
        answered.text = payload.toString('utf8');
        resolve(answered);
      },
    });
    guestApiListener(app.api)(incoming, response);
  });
  return await answer.finally(() => request.signal?.removeEventListener('abort', hangUp));
}
