import { Agent, request } from 'undici';
import { z } from 'zod';
import type { Background } from './process.ts';
import { waitUntil } from './wait-until.ts';

/** What the simulator says of itself once it is ready. */
export interface SimulatorReady {
  url: string;
  token: string;
  fingerprint: string;
  node: string;
}

/** The line in which a started simulator says that it is ready, from `offset` of its output on; `undefined` before. */
export function readReadyLine(started: Background, offset: number): SimulatorReady | undefined {
  if (started.hasEnded()) throw new Error(`the simulator ended:\n${started.output().slice(-3_000)}`);
  const text = started.output().slice(offset);
  const line = text
    .split('\n')
    .slice(0, -1)
    .find((each) => each.startsWith('{'));
  if (line === undefined) return undefined;
  const said: SimulatorReady = JSON.parse(line);
  return said;
}

/** One call to the node as a person with full rights makes it. @throws an error with the answer unless it is a 2xx. */
export async function callNode(
  simulator: SimulatorReady,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<unknown> {
  // The lab made this certificate itself a moment ago; what is tested is the programs' pinning, not ours.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${simulator.url}${path}`, {
      method,
      dispatcher,
      headers: { authorization: `PVEAPIToken=${simulator.token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  } finally {
    await dispatcher.close();
  }
}

/** A vzdump as PVE's own schedule or a person in its interface starts it. Resolves with the task's exit status. */
export async function vzdumpByPve(simulator: SimulatorReady, parameters: Record<string, unknown>): Promise<string> {
  const node = `/api2/json/nodes/${simulator.node}`;
  const upid = upidOf(await callNode(simulator, 'POST', `${node}/vzdump`, parameters));
  return await waitUntil(
    `the task ${upid} is over`,
    async () => {
      const { data } = taskStatus.parse(await callNode(simulator, 'GET', `${node}/tasks/${upid}/status`));
      return data.status === 'stopped' && (data.exitstatus ?? '');
    },
    { boundMs: 120_000, everyMs: 100 },
  );
}

const taskStatus = z.object({ data: z.object({ status: z.string(), exitstatus: z.string().optional() }) });
const upidOf = (answer: unknown): string => z.object({ data: z.string() }).parse(answer).data;
