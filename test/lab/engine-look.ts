import { request } from 'node:http';
import { z } from 'zod';

/*
 * Looks at an engine by its own API (Engine API 1.41 and later), on its socket. Tests look again and again until
 * something is so: a docker command for every look took more of the processor than what was looked at.
 */

/** A container as the engine lists it. */
export interface ListedContainer {
  id: string;
  name: string;
  /** `running`, `exited`, `created`, … */
  state: string;
}

const list = z.array(z.object({ Id: z.string(), Names: z.array(z.string()), State: z.string() }));
const inspected = z.object({ State: z.object({ StartedAt: z.string() }) });

/** The containers that run, or with `all` every one. @throws where no engine answers. */
export async function listContainers(socket: string, { all }: { all: boolean }): Promise<ListedContainer[]> {
  const found = list.parse(await ask(socket, `/containers/json${all ? '?all=1' : ''}`));
  // Other names of a container are those by which its links know it: they have a second slash.
  const nameOf = (names: string[]): string => names.find((name) => !name.includes('/', 1))?.slice(1) ?? '';
  return found.map(({ Id, Names, State }) => ({ id: Id, name: nameOf(Names), state: State }));
}

/** `StartedAt` of a container. @throws where there is none. */
export async function startTimeOf(socket: string, id: string): Promise<string> {
  return inspected.parse(await ask(socket, `/containers/${id}/json`)).State.StartedAt;
}

/** Whether an engine answers. */
export async function answers(socket: string): Promise<boolean> {
  return await ask(socket, '/version').then(
    () => true,
    () => false,
  );
}

async function ask(socketPath: string, path: string): Promise<unknown> {
  const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const sent = request({ socketPath, path, agent: false, timeout: 30_000, headers: { Host: 'docker' } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 500, text }));
      answer.on('error', reject);
    });
    sent.on('timeout', () => sent.destroy(new Error(`the engine gives no answer to GET ${path}`)));
    sent.on('error', reject);
    sent.end();
  });
  if (status !== 200) throw new Error(`the engine answers ${status} to GET ${path}: ${text}`);
  return JSON.parse(text);
}
