import { Failure } from '@felhom/kernel/failure.ts';
import { verifiedConnector } from '@felhom/pinned-tls/connector.ts';
import { canonicalFingerprint } from '@felhom/pinned-tls/fingerprint.ts';
import { Agent } from 'undici';
import type { z } from 'zod';
import { type AgentApi, AgentError } from './agent-api.ts';
import { errorOfAnswer, misbehaves, parseJson } from './agent-errors.ts';
import { type AgentTimeouts, type Call, exchange, type OpenAgent } from './exchange.ts';
import { type GenerationStore, newerGeneration } from './generation.ts';
import {
  cancelAnswer,
  dueAnswer,
  jobStatus,
  quiescedAnswer,
  reportAnswer,
  restoreTestAnswer,
  resumedAnswer,
  startAnswer,
} from './schema.ts';

/*
 * Invariants:
 * - A generation is presented only after the store has it: a crash can never leave the agent ahead of us.
 * - Agents are tried in order, beginning with the one that answered last; what the guest's own agent
 *   says wins over a 401 or 421 of the others, and "unreachable" wins over those too: the silent
 *   one may be the guest's.
 * - Every call ends: connecting and answering are bounded, a long poll by its own wait on top.
 */

export interface AgentAddress {
  /** `https://10.0.3.1:8470` */
  url: string;
  /** SHA-256 of the agent's certificate, as `AB:CD:…`. */
  fingerprint: string;
}

export interface AgentClientOptions {
  agents: readonly AgentAddress[];
  token: string;
  generation: GenerationStore;
  /** What tells this boot from every other: /proc/sys/kernel/random/boot_id. */
  bootId: string;
  /** What tells guests apart that share a kernel, and so may share its boot id: field 22 of /proc/1/stat. */
  bootStarted?: string | null;
  timeouts?: Partial<AgentTimeouts>;
}

/**
 * The guest's way to its agent, over HTTPS with pinned certificates.
 * @throws Failure `config_invalid` when no agent is named or a fingerprint is none.
 */
export function createAgentClient(options: AgentClientOptions): AgentApi {
  const timeouts: AgentTimeouts = { connectMs: 5_000, answerMs: 15_000, ...options.timeouts };
  const agents = options.agents.map((agent) => openAgent(agent, timeouts));
  if (agents.length === 0) {
    throw new Failure('config_missing', {
      message: 'no agent is configured',
      hint: 'Name one under agents in the configuration.',
    });
  }
  const call = createCaller(agents, options, timeouts);
  return {
    due: ({ waitSeconds = 0, signal } = {}) =>
      call({ method: 'GET', path: `/backup/due?wait=${waitSeconds}`, answer: dueAnswer, waitSeconds, signal }),
    start: (body, { idempotencyKey, onlyIfDue = false, signal }) =>
      call({ method: 'POST', path: '/backup', body, idempotencyKey, onlyIfDue, answer: startAnswer, signal }),
    quiesced: (jobId, { signal } = {}) =>
      call({
        method: 'POST',
        path: `/backup/${encodeURIComponent(jobId)}/quiesced`,
        body: {},
        answer: quiescedAnswer,
        signal,
      }),
    resumed: (jobId, { signal } = {}) =>
      call({
        method: 'POST',
        path: `/backup/${encodeURIComponent(jobId)}/resumed`,
        body: {},
        answer: resumedAnswer,
        signal,
      }),
    cancel: (jobId, { force = false, signal } = {}) =>
      call({
        method: 'DELETE',
        path: `/backup/${encodeURIComponent(jobId)}${force ? '?force=1' : ''}`,
        answer: cancelAnswer,
        signal,
      }),
    status: (jobId, { after, waitSeconds = 0, signal } = {}) =>
      call({ method: 'GET', path: statusPath(jobId, after, waitSeconds), answer: jobStatus, waitSeconds, signal }),
    report: (jobId, body, { signal } = {}) =>
      call({ method: 'POST', path: `/backup/${encodeURIComponent(jobId)}/report`, body, answer: reportAnswer, signal }),
    restoreTest: ({ signal } = {}) =>
      call({ method: 'GET', path: '/restore-test/status', answer: restoreTestAnswer, signal }),
    close: async () => {
      await Promise.all(agents.map(async (agent) => await agent.dispatcher.destroy()));
    },
  };
}

function statusPath(jobId: string, after: number | undefined, waitSeconds: number): string {
  const query = new URLSearchParams({ job_id: jobId, wait: String(waitSeconds) });
  if (after !== undefined) query.set('after', String(after));
  return `/backup/status?${query.toString()}`;
}

function openAgent({ url, fingerprint }: AgentAddress, timeouts: AgentTimeouts): OpenAgent {
  const pin = canonicalFingerprint(fingerprint);
  if (pin === undefined || !url.startsWith('https://')) {
    throw new Failure('config_invalid', {
      message: pin === undefined ? `the fingerprint of ${url} is no SHA-256` : `${url} is no https:// address`,
      hint: 'On the host, felhom-agent status prints address and fingerprint.',
    });
  }
  const dispatcher = new Agent({
    connect: verifiedConnector({ kind: 'fingerprint', fingerprint: pin }, timeouts.connectMs),
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 30_000,
  });
  return { url: url.replace(/\/+$/, ''), dispatcher };
}

type Caller = <S extends z.ZodType>(call: Call<S>) => Promise<z.output<S>>;

function createCaller(agents: readonly OpenAgent[], options: AgentClientOptions, timeouts: AgentTimeouts): Caller {
  let preferred = 0;
  return async (call) => {
    const refusals: AgentError[] = [];
    for (let turn = 0; turn < agents.length; turn += 1) {
      const index = (preferred + turn) % agents.length;
      const agent = agents[index];
      if (agent === undefined) break;
      try {
        const answer = await callWithGeneration(agent, call, options, timeouts);
        preferred = index;
        return answer;
      } catch (error) {
        if (!(error instanceof AgentError)) throw error;
        if (!passesOn(error)) {
          preferred = index;
          throw error;
        }
        refusals.push(error);
      }
    }
    const weightiest = refusals.toSorted((left, right) => weight(left) - weight(right))[0];
    preferred = (preferred + 1) % agents.length;
    throw weightiest ?? new Failure('bug', { message: 'no agent was asked', hint: 'Please report this.' });
  };
}

/** Whether another agent of the list may know better. */
function passesOn({ kind }: AgentError): boolean {
  return (
    kind === 'unreachable' || kind === 'misbehaves' || kind === 'identity' || kind === 'moved' || kind === 'refused'
  );
}

/** The silent agent may be the guest's, so silence is told before the refusals of others. */
function weight({ kind }: AgentError): number {
  return ['unreachable', 'misbehaves', 'identity', 'moved', 'refused'].indexOf(kind);
}

/**
 * One call with the stored generation. Another process of this guest may have brought a newer one
 * into force since we read it: `restored_copy` is believed only for the one that the store still holds.
 */
async function callWithGeneration<S extends z.ZodType>(
  agent: OpenAgent,
  call: Call<S>,
  options: AgentClientOptions,
  timeouts: AgentTimeouts,
): Promise<z.output<S>> {
  const presented = await options.generation.read();
  try {
    return await callOnce(agent, call, { ...options, presented }, timeouts);
  } catch (error) {
    if (!(error instanceof AgentError) || error.kind !== 'restored_copy') throw error;
    const stored = await options.generation.read();
    if (stored === presented) throw error;
    return await callOnce(agent, call, { ...options, presented: stored }, timeouts);
  }
}

async function callOnce<S extends z.ZodType>(
  agent: OpenAgent,
  call: Call<S>,
  options: AgentClientOptions & { presented: string | null },
  timeouts: AgentTimeouts,
): Promise<z.output<S>> {
  const { answer, nextGeneration } = await exchange(agent, call, options, timeouts);
  const next = newerGeneration(nextGeneration, options.presented);
  if (next !== undefined) await options.generation.write(next);
  if (answer.status >= 400) throw errorOfAnswer(answer);
  const parsed = call.answer.safeParse(parseJson(answer.text));
  if (answer.status >= 200 && answer.status < 300 && parsed.success) return parsed.data;
  const why = parsed.success ? `HTTP ${answer.status}` : describeShape(parsed.error);
  throw misbehaves(answer, `gave an answer that is none to ${call.method} ${call.path.split('?')[0]}: ${why}`);
}

function describeShape(error: z.ZodError): string {
  const [first] = error.issues;
  return first === undefined ? 'wrong shape' : `${first.path.join('.') || 'answer'}: ${first.message}`;
}
