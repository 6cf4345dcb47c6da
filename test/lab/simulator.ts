import { Agent, request } from 'undici';
import type { Background } from './process.ts';

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

/** Orders a fault (`POST`), or takes all orders back (`DELETE`). */
export async function askSimulator(
  simulator: SimulatorReady,
  method: 'POST' | 'DELETE',
  body?: unknown,
): Promise<void> {
  // The lab made this certificate itself a moment ago; what is tested is the programs' pinning, not ours.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${simulator.url}/sim/faults`, {
      method,
      dispatcher,
      headers: { authorization: `PVEAPIToken=${simulator.token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`the simulator refused the order: ${answer.statusCode} ${text}`);
  } finally {
    await dispatcher.close();
  }
}
